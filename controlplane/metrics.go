package controlplane

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/service/ecs"
)

// What a scrape may take.
const scrapeTimeout = 10 * time.Second

var (
	groupLabels = []string{"account", "region", "cluster", "group"}

	holdingTasks = prometheus.NewDesc("malote_tasks_holding_secrets", "Running tasks that were given secrets or parameters.", groupLabels, nil)
	staleTasks   = prometheus.NewDesc("malote_tasks_stale", "Those of them that hold a version which they would not be given today.", groupLabels, nil)

	requestsTotal = prometheus.NewDesc("malote_requests_total", "Requests that were answered, by the error's code, or ok.", []string{"service", "operation", "code"}, nil)
	auditWritable = prometheus.NewDesc("malote_audit_writable", "1 while the audit can be written, else 0.", nil, nil)
)

// metrics answers GET /metrics in Prometheus's words. It names accounts, clusters and
// services, and has no values of secrets. The registry is made for the first scrape.
func metrics(tasks *ecs.Service, requests *gateway.Counts, trail audit.Log, log *slog.Logger) http.Handler {
	scrape := sync.OnceValue(func() http.Handler {
		registry := prometheus.NewRegistry()
		registry.MustRegister(
			taskCounts{tasks},
			requestCounts{requests},
			auditHealth{trail},
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
		return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), MaxRequestsInFlight: 2,
		})
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { scrape().ServeHTTP(w, r) })
	return mux
}

// taskCounts is counted anew by each scrape.
type taskCounts struct{ tasks *ecs.Service }

func (taskCounts) Describe(ch chan<- *prometheus.Desc) {
	ch <- holdingTasks
	ch <- staleTasks
}

func (c taskCounts) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	counts, err := ecs.Counts(ctx, c.tasks)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(staleTasks, err)
		return
	}
	for _, n := range counts {
		labels := []string{n.Account, n.Region, n.Cluster, n.Group}
		ch <- prometheus.MustNewConstMetric(holdingTasks, prometheus.GaugeValue, float64(n.Holding), labels...)
		ch <- prometheus.MustNewConstMetric(staleTasks, prometheus.GaugeValue, float64(n.Stale), labels...)
	}
}

// requestCounts are those of the gateway. An operation has a line for each code with which
// requests for it ended, so there are as many as operations times their errors, at most.
type requestCounts struct{ of *gateway.Counts }

func (requestCounts) Describe(ch chan<- *prometheus.Desc) { ch <- requestsTotal }

func (c requestCounts) Collect(ch chan<- prometheus.Metric) {
	for n := range c.of.All() {
		ch <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, float64(n.N), n.Service, n.Operation, n.Code)
	}
}

// auditHealth is whether the audit can be written.
type auditHealth struct{ log audit.Log }

func (auditHealth) Describe(ch chan<- *prometheus.Desc) { ch <- auditWritable }

func (h auditHealth) Collect(ch chan<- prometheus.Metric) {
	writable := 1.0
	if auditFailure(h.log) != nil {
		writable = 0
	}
	ch <- prometheus.MustNewConstMetric(auditWritable, prometheus.GaugeValue, writable)
}

// auditFailure is why the audit cannot be written, as far as it knows.
func auditFailure(log audit.Log) error {
	if file, ok := log.(interface{ Failure() error }); ok {
		return file.Failure()
	}
	return nil
}
