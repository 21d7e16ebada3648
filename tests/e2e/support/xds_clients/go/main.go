// A load generator in Go that calls the greet servers over the xDS client of grpc-go. It prints what `greet load` prints:
// one JSON object per line, the counts of each interval, and a summary at the end. SIGTERM ends it early, with the
// summary. The argument `stop` sends SIGTERM to the client in the same container, which has no shell.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/xds" // the scheme xds:///
)

var pod = regexp.MustCompile(`from pod: name\(([^)]*)\)`)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "stop" {
		if err := syscall.Kill(1, syscall.SIGTERM); err != nil {
			fail(err)
		}
		return
	}
	call()
}

func call() {
	target := flag.String("target", "xds:///greetserver", "target to call")
	rate := flag.Float64("rate", 100, "calls per second")
	calls := flag.Int("calls", math.MaxInt, "number of calls")
	timeout := flag.Duration("timeout", 10*time.Second, "timeout of each call")
	interval := flag.Duration("interval", time.Second, "time between two lines")
	flag.Parse()

	connection, err := grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fail(err)
	}
	defer connection.Close()

	all := newTally()
	stop := all.report(*interval)
	stopped, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	var underWay sync.WaitGroup
	begun := time.Now()
	for sent := 0; sent < *calls && stopped.Err() == nil; sent++ {
		underWay.Add(1)
		all.begin(sent, time.Now())
		go func() {
			defer underWay.Done()
			ctx, cancel := context.WithTimeout(context.Background(), *timeout)
			defer cancel()
			result, err := greet(ctx, connection)
			all.count(sent, result, err)
		}()
		due := begun.Add(time.Duration(float64(sent+1) / *rate * float64(time.Second)))
		time.Sleep(time.Until(due))
	}
	underWay.Wait()
	stop()
	show(map[string]any{"summary": all.summary()})
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func show(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
