// Command resolve sends Resolve calls to a lookaside and prints the number of answers.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// bytesCodec passes messages through, so that the load generator spends no time on them.
type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func main() {
	target := flag.String("target", "127.0.0.1:50055", "the lookaside")
	namespace := flag.String("namespace", "default", "of the pool")
	pool := flag.String("pool", "greetserver", "its name")
	connections := flag.Int("connections", 4, "how many")
	calls := flag.Int("calls", 16, "concurrent calls per connection")
	seconds := flag.Float64("seconds", 5, "how long")
	flag.Parse()

	// Request{router = 1 (ROUNDROBIN), service = 2, namespace = 3}
	request := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	request = protowire.AppendString(protowire.AppendTag(request, 2, protowire.BytesType), *pool)
	request = protowire.AppendString(protowire.AppendTag(request, 3, protowire.BytesType), *namespace)

	var answered atomic.Int64
	var callers sync.WaitGroup
	begun := time.Now()
	until := begun.Add(time.Duration(*seconds * float64(time.Second)))
	for range *connections {
		connection, err := grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		exitOn(err)
		defer connection.Close()
		for range *calls {
			callers.Add(1)
			go func() {
				defer callers.Done()
				for time.Now().Before(until) {
					var response []byte
					exitOn(connection.Invoke(context.Background(), "/lookaside.Lookaside/Resolve", &request, &response,
						grpc.ForceCodec(bytesCodec{})))
					answered.Add(1)
				}
			}()
		}
	}
	callers.Wait()
	text, err := json.Marshal(map[string]any{"answered": answered.Load(), "seconds": time.Since(begun).Seconds()})
	exitOn(err)
	fmt.Println(string(text))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
