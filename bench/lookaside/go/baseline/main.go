// Command baseline is a minimal control plane for the endpoints of one Service: go-control-plane's cache and server, fed by
// client-go's informer.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// oneNode makes all clients share a snapshot.
type oneNode struct{}

func (oneNode) ID(*corev3.Node) string { return "all" }

func main() {
	kubeconfig := flag.String("kubeconfig", "", "where the cluster is")
	kubecontext := flag.String("context", "", "which of the kubeconfig")
	namespace := flag.String("namespace", "default", "of the Service")
	service := flag.String("service", "greetserver", "its name")
	port := flag.Int("port", 50055, "to serve on")
	flag.Parse()

	ctx := context.Background()
	snapshots := cachev3.NewSnapshotCache(true, oneNode{}, nil)
	follow(ctx, client(*kubeconfig, *kubecontext), *namespace, *service, snapshots)
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	exitOn(err)
	grpcServer := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(ctx, snapshots, nil))
	fmt.Println("serving")
	exitOn(grpcServer.Serve(listener))
}

func client(kubeconfig, kubecontext string) kubernetes.Interface {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		rules, &clientcmd.ConfigOverrides{CurrentContext: kubecontext}).ClientConfig()
	exitOn(err)
	found, err := kubernetes.NewForConfig(config)
	exitOn(err)
	return found
}

// follow keeps the snapshot current, and returns when there is a first one.
func follow(ctx context.Context, api kubernetes.Interface, namespace, service string, snapshots cachev3.SnapshotCache) {
	factory := informers.NewSharedInformerFactoryWithOptions(api, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.LabelSelector = discoveryv1.LabelServiceName + "=" + service
		}))
	informer := factory.Discovery().V1().EndpointSlices().Informer()
	var mutex sync.Mutex
	version := 0
	publish := func() {
		mutex.Lock()
		defer mutex.Unlock()
		version++
		assignment := assign(service+"."+namespace, informer.GetStore().List())
		snapshot, err := cachev3.NewSnapshot(strconv.Itoa(version), map[resource.Type][]types.Resource{
			resource.EndpointType: {assignment},
		})
		exitOn(err)
		exitOn(snapshots.SetSnapshot(ctx, "all", snapshot))
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { publish() },
		UpdateFunc: func(any, any) { publish() },
		DeleteFunc: func(any) { publish() },
	})
	exitOn(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
}

func assign(name string, slices []any) *endpointv3.ClusterLoadAssignment {
	var found []*endpointv3.LbEndpoint
	for _, one := range slices {
		slice := one.(*discoveryv1.EndpointSlice)
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
				continue
			}
			found = append(found, lbEndpoint(endpoint.Addresses[0], uint32(*slice.Ports[0].Port)))
		}
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		Locality:            &corev3.Locality{},
		LbEndpoints:         found,
		LoadBalancingWeight: wrapperspb.UInt32(uint32(max(1, len(found)))),
	}}}
}

func lbEndpoint(address string, port uint32) *endpointv3.LbEndpoint {
	socket := &corev3.SocketAddress{Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}
	return &endpointv3.LbEndpoint{
		HealthStatus: corev3.HealthStatus_HEALTHY,
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: socket}},
		}},
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
