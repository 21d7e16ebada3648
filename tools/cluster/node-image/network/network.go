// Package network is the pod network of a cluster whose nodes share one link, as the nodes of kind do.
//
// Each node gets its own pod range from the cluster. The program tells the container runtime to hand out that range
// (a CNI list of the standard plugins), and routes the ranges of the other nodes to them. It is the same idea as
// kind's own kindnetd, without what the tests do not need: network policy, masquerading, dual stack.
package network

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/template"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Where containerd looks for its network; the runtime calls the node ready when a list stands here.
const configPath = "/etc/cni/net.d/10-node-network.conflist"

// How long a route that could not be set (a link that is still coming up) waits for the next attempt.
const resync = 10 * time.Second

var config = template.Must(template.New("conflist").Parse(`{
  "cniVersion": "0.4.0",
  "name": "node-network",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "mtu": {{.MTU}},
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": "{{.PodCIDR}}"}]]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`))

// Main keeps the network of the node NODE_NAME in step with the cluster's nodes until it is told to stop.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("NODE_NAME")); err != nil {
		klog.ErrorS(err, "node-network stopped")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func run(ctx context.Context, self string) error {
	access, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("reading the service account: %w", err)
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // one pass is already due, and it will see this change too
		}
	}
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}); err != nil {
		return fmt.Errorf("watching nodes: %w", err)
	}
	factory.Start(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(resync):
		}
		if err := apply(self, nodes.Lister()); err != nil {
			klog.ErrorS(err, "will try again", "in", resync)
		}
	}
}

// apply routes the pod ranges of the other nodes, then opens this node's own range to the runtime.
func apply(self string, lister listers.NodeLister) error {
	nodes, err := lister.List(labels.Everything())
	if err != nil {
		return err
	}
	own := ""
	for _, node := range nodes {
		switch {
		case node.Spec.PodCIDR == "": // the controller manager has not given it one yet
		case node.Name == self:
			own = node.Spec.PodCIDR
		default:
			if err := route(node); err != nil {
				return fmt.Errorf("routing pods of %s: %w", node.Name, err)
			}
		}
	}
	if own == "" {
		return nil
	}
	return writeConfig(own)
}

func route(node *corev1.Node) error {
	_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil {
		return err
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return netlink.RouteReplace(&netlink.Route{Dst: pods, Gw: net.ParseIP(address.Address)})
		}
	}
	return nil // its kubelet has not reported an address yet; that report is a change of its own
}

// writeConfig writes by rename, as the runtime watches the folder and must never read half a file.
func writeConfig(podCIDR string) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("finding the node's link: %w", err)
	}
	var text bytes.Buffer
	if err := config.Execute(&text, map[string]any{"PodCIDR": podCIDR, "MTU": link.Attrs().MTU}); err != nil {
		return err
	}
	if current, err := os.ReadFile(configPath); err == nil && bytes.Equal(current, text.Bytes()) {
		return nil
	}
	draft := filepath.Join(filepath.Dir(configPath), ".node-network.draft")
	if err := os.WriteFile(draft, text.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(draft, configPath)
}
