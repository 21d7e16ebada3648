// Command streams runs many xDS clients that follow the endpoints of one pool, each over its own connection. It reads commands
// from standard input, one per line, and answers each with a line of JSON.
//
//	expect ADDRESS   wait until every stream has the address; print the times of the first and the last
//	reconnect        reopen all connections; print the time until every stream has a response
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const endpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

// marker is an address that a change adds, and the streams that have it.
type marker struct {
	address     []byte
	missing     int
	first, last time.Time
	done        chan struct{}
}

// fleet is the set of all streams. Each stream checks the marker, if any, at every response.
type fleet struct {
	target, name string
	size         int

	mutex    sync.Mutex
	expected *marker
	told     int
	allTold  chan struct{}
	cancel   context.CancelFunc
}

func main() {
	target := flag.String("target", "127.0.0.1:50055", "the control plane")
	size := flag.Int("streams", 100, "how many")
	name := flag.String("name", "greetserver.default", "the pool")
	flag.Parse()

	all := &fleet{target: *target, name: *name, size: *size}
	answer(map[string]any{"connected": all.connect().Seconds()})
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		words := strings.Fields(commands.Text())
		switch {
		case len(words) == 2 && words[0] == "expect":
			found := all.expect(words[1])
			answer(map[string]any{"expecting": words[1]})
			<-found.done
			answer(map[string]any{"first": unix(found.first), "last": unix(found.last)})
		case len(words) == 1 && words[0] == "reconnect":
			all.cancel()
			answer(map[string]any{"connected": all.connect().Seconds()})
		default:
			fmt.Fprintln(os.Stderr, "unknown command:", commands.Text())
			os.Exit(2)
		}
	}
}

// connect opens all streams at once, waits until each has a response, and returns the duration.
func (f *fleet) connect() time.Duration {
	ctx, cancel := context.WithCancel(context.Background())
	f.mutex.Lock()
	f.told, f.allTold, f.cancel = 0, make(chan struct{}), cancel
	f.mutex.Unlock()
	begun := time.Now()
	for range f.size {
		go func() {
			if err := f.follow(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "a stream ended:", err)
				os.Exit(1)
			}
		}()
	}
	<-f.allTold
	return time.Since(begun)
}

// follow runs one client: it subscribes to the pool's endpoints and ACKs every response.
func (f *fleet) follow(ctx context.Context) error {
	connection, err := grpc.NewClient(f.target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := discovery.NewAggregatedDiscoveryServiceClient(connection)
	stream, err := client.StreamAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	request := &discovery.DiscoveryRequest{
		TypeUrl:       endpoints,
		ResourceNames: []string{f.name},
		Node:          &corev3.Node{Id: "bench", Cluster: "bench"},
	}
	for first := true; ; first = false {
		if err := stream.Send(request); err != nil {
			return err
		}
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		f.heard(response, first)
		request = &discovery.DiscoveryRequest{
			TypeUrl:       endpoints,
			ResourceNames: []string{f.name},
			VersionInfo:   response.VersionInfo,
			ResponseNonce: response.Nonce,
		}
	}
}

func (f *fleet) heard(response *discovery.DiscoveryResponse, first bool) {
	now := time.Now()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if first {
		if f.told++; f.told == f.size {
			close(f.allTold)
		}
	}
	found := f.expected
	if found == nil || len(response.Resources) == 0 || !bytes.Contains(response.Resources[0].Value, found.address) {
		return
	}
	if found.missing == f.size {
		found.first = now
	}
	if found.missing--; found.missing == 0 {
		found.last, f.expected = now, nil
		close(found.done)
	}
}

// expect waits for a change that adds the address, which no stream has yet.
func (f *fleet) expect(address string) *marker {
	found := &marker{address: []byte(address), missing: f.size, done: make(chan struct{})}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.expected = found
	return found
}

func answer(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func unix(moment time.Time) float64 {
	return float64(moment.UnixNano()) / 1e9
}
