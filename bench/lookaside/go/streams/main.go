// Many xDS clients that follow one pool's endpoints, each over a connection of its own, as far as a control plane can
// tell. A line on standard input is a command; a line of JSON on standard output answers it.
//
//	expect ADDRESS   when every stream has been told of the address: when the first and the last were
//	reconnect        all connections are closed and made anew: how long until each has been told again
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

// marker is an address that a change brings, and who has heard of it.
type marker struct {
	address     []byte
	missing     int
	first, last time.Time
	done        chan struct{}
}

// fleet is all streams. Whoever is told something looks at the marker, if there is one.
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

// connect opens all streams at once and waits until each has been told something; it returns how long that took.
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

// follow is one client: it asks for the pool's endpoints, and takes all that it is told.
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

// expect waits for a change that brings the address, of which nobody has heard yet.
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
