package main

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// tally holds the results of the calls so far.
type tally struct {
	mutex     sync.Mutex
	pods      map[string]int
	errors    map[string]int
	first     map[string]float64
	latencies []time.Duration
	underWay  map[int]time.Time
}

func newTally() *tally {
	return &tally{
		pods: map[string]int{}, errors: map[string]int{}, first: map[string]float64{}, underWay: map[int]time.Time{},
	}
}

// begin records the start time of a call, which is identified by its number.
func (t *tally) begin(call int, now time.Time) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.underWay[call] = now
}

// count records the result of a finished call: the pod that answered it, or the error.
func (t *tally) count(call int, result string, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	took := time.Since(t.underWay[call])
	delete(t.underWay, call)
	name := pod.FindStringSubmatch(result)
	switch {
	case err != nil:
		found := status.Convert(err)
		t.errors[found.Code().String()+": "+found.Message()]++
	case name == nil:
		t.errors["answer without a pod name"]++
	default:
		t.pods[name[1]]++
		t.latencies = append(t.latencies, took)
		if _, known := t.first[name[1]]; !known {
			t.first[name[1]] = unix(time.Now())
		}
	}
}

// report prints the counts of each interval until stop is called. It prints nothing after stop has returned.
func (t *tally) report(interval time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		pods, errors := map[string]int{}, map[string]int{}
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				t.mutex.Lock()
				show(map[string]any{
					"time": unix(now), "pods": since(t.pods, pods), "errors": since(t.errors, errors),
					"waiting": t.waiting(interval),
				})
				t.mutex.Unlock()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// summary returns all counts, Unix times of first answers, and latencies in milliseconds.
func (t *tally) summary() map[string]any {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	slices.Sort(t.latencies)
	return map[string]any{
		"ok":           total(t.pods),
		"failed":       total(t.errors),
		"pods":         t.pods,
		"errors":       t.errors,
		"first_answer": t.first,
		"latency_ms":   map[string]any{"p50": t.percentile(50), "p99": t.percentile(99), "p100": t.percentile(100)},
	}
}

// waiting returns the number of calls that have been in flight for at least long.
func (t *tally) waiting(long time.Duration) int {
	found := 0
	for _, begun := range t.underWay {
		if time.Since(begun) >= long {
			found++
		}
	}
	return found
}

func (t *tally) percentile(share int) any {
	if len(t.latencies) == 0 {
		return nil
	}
	place := min(len(t.latencies)-1, len(t.latencies)*share/100)
	return float64(t.latencies[place].Microseconds()) / 1000
}

// since returns the increase from before to now, and updates before to now.
func since(now, before map[string]int) map[string]int {
	added := map[string]int{}
	for name, count := range now {
		if count > before[name] {
			added[name] = count - before[name]
		}
		before[name] = count
	}
	return added
}

func total(counts map[string]int) int {
	sum := 0
	for _, count := range counts {
		sum += count
	}
	return sum
}

func unix(moment time.Time) float64 {
	return float64(moment.UnixMicro()) / 1e6
}
