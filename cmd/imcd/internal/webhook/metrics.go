package webhook

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// mostCounted is where the count of waiting events ends: it is read every few seconds.
const mostCounted = 100000

// noAnswer is the label of a POST without an answer.
const noAnswer = "error"

// metrics counts what a Sender does.
type metrics struct {
	sent    prometheus.Counter
	dropped *prometheus.CounterVec // by reason
	posts   *prometheus.CounterVec // by the class of their answers
	took    prometheus.Histogram
	waiting prometheus.Gauge
	oldest  prometheus.Gauge
}

// register makes the metrics and registers them.
func (m *metrics) register(reg prometheus.Registerer, w *Sender) error {
	*m = metrics{
		sent: prometheus.NewCounter(prometheus.CounterOpts{Name: "imc_webhook_events_total",
			Help: "Events that the webhook's receiver has taken."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imc_webhook_dropped_total",
			Help: "Events that were deleted without being sent: old (webhook_keep), gone (the receiver answered 410)."},
			[]string{"reason"}),
		posts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imc_webhook_posts_total",
			Help: "POSTs to the webhook's receiver by the class of its answer, 2xx to 5xx; error: there was none."},
			[]string{"answer"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imc_webhook_seconds",
			Help: "How long the webhook's receiver took to answer.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "imc_webhook_waiting",
			Help: "Events of all rooms that the webhook's receiver has not taken yet; 100000: so many or more."}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{Name: "imc_webhook_oldest_seconds",
			Help: "The age of the oldest of them."}),
	}
	for _, why := range []string{"old", "gone"} {
		m.dropped.WithLabelValues(why) // so that the first one is seen as an increase
	}
	for _, answer := range []string{"2xx", "3xx", "4xx", "5xx", noAnswer} {
		m.posts.WithLabelValues(answer)
	}
	up := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imc_webhook_up",
		Help: "1 if the webhook's receiver took the last events, or there is none."},
		func() float64 {
			if w.Warning() == "" {
				return 1
			}
			return 0
		})
	var errs []error
	for _, c := range []prometheus.Collector{m.sent, m.dropped, m.posts, m.took, m.waiting, m.oldest, up} {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}
