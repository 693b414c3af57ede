package engine

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newMetrics(registerer prometheus.Registerer, c *credits, h *held) (*metrics, error) {
	r := &registry{to: registerer}
	m := &metrics{
		rooms: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "imc_active_rooms", Help: "Rooms that exist."})),
		messages: r.counter("imc_messages_total", "Messages to rooms that were accepted."),
		requests: r.counters("imc_requests_total", "Requests by command (message for none) and final reply.",
			"command", "code"),
		deliveries: r.counters("imc_deliveries_total", "Outcomes of copies to recipients: ok; known (the recipient "+
			"had it); offline, timeout, error, lost (sent again); refused; stray (came twice or too late).", "result"),
		dropped: r.counter("imc_dropped_total", "Copies given up because too many waited for a room or a user."),
		lost: r.counters("imc_lost_total", "Messages that were accepted and never reach a member, by reason: refused "+
			"(its content, by the phone), unsendable, no answer (of a phone that registers), by operator.", "reason"),
		repeated: r.counter("imc_repeated_total",
			"Copies sent again while they were under way, because their user has registered."),
		typed: r.counters("imc_typing_total", "Copies of \"is typing\" to members that are online: sent; dropped (too "+
			"many, or something else to send).", "result"),
		grouped: r.counters("imc_group_requests_total", "Requests of imcd to devices that know rooms as group chats, by "+
			"method and outcome, as of imc_deliveries_total.", "method", "result"),
		expired: r.counter("imc_expired_total",
			"Copies not sent because the time that the sender gave them (Expires) was over."),
		withheld: r.counter("imc_notices_withheld_total",
			"Notices about refused messages that were not sent because of notice_repeat."),
		limited: r.counters("imc_limited_total",
			"Requests answered 480 because of a limit of a rate, by its key in the configuration.", "limit"),
		receipts: r.counters("imc_receipts_total", "Receipts of members' clients: delivered, displayed, failed, other; "+
			"notice (about one); ignored (forged, old or unreadable); dropped (too many at a time).", "result"),
		receiptsSent: r.counter("imc_receipts_sent_total",
			"Receipts that senders were sent: delivered and displayed, one of each for a message."),
		pruned: r.counter("imc_pruned_total",
			"Stored messages deleted because of room_messages, room_bytes or message_age."),
		unreported: r.counter("imc_device_reports_dropped_total",
			"Reports of registered devices that were dropped because too many waited for the database."),
		shed: r.counter("imc_shed_total",
			"Messages answered 503 because earlier ones in the room wait too long to be delivered (max_delay)."),
		webhookDropped: r.counter("imc_webhook_not_stored_total",
			"Events for the webhook that were dropped because too many waited for the database, or it refused them."),
		latency: r.histogram("imc_delivery_seconds",
			"From the acceptance of a message to its arrival at a member, offline times included.", 0.001, 4, 12),
		retries: r.counters("imc_put_off_total",
			"Copies deferred: they are sent again later (failed), or when the member registers (offline).", "reason"),
		commits:    r.counters("imc_commits_total", "Database transactions by result: ok or error.", "result"),
		commitTime: r.histogram("imc_commit_seconds", "Duration of a database transaction.", 0.0005, 2, 14),
		batch:      r.histogram("imc_commit_changes", "Changes in one database transaction.", 1, 2, 12),
	}
	for _, why := range lossReasons {
		m.lost.WithLabelValues(why) // so that the first one is seen as an increase
	}
	m.delivered = m.deliveries.WithLabelValues(resultOK)
	r.value("imc_outstanding", "Copies under way to recipients.", nil, func() float64 { return float64(c.inUse()) })
	bytes := func(v *atomic.Int64) func() float64 { return func() float64 { return float64(v.Load()) } }
	r.value("imc_backlog_bytes", "Bytes of messages and notices that wait for recipients.", nil, bytes(&h.waiting))
	for what, v := range map[string]*atomic.Int64{"requests": &h.requests, "waiting": &h.waiting, "read": &h.pages,
		"kept": &h.kept, "copies": &h.copies} {
		r.value("imc_held_bytes", "Bytes of what people say that imcd holds; total_log_bytes bounds the sum. Of requests "+
			"without an answer (requests), messages and notices that wait for recipients (waiting), what was read from "+
			"the database (read), notices for users that are offline (kept), copies under way (copies).",
			prometheus.Labels{"what": what}, bytes(v))
	}
	return m, errors.Join(r.errs...)
}

// registry makes metrics and registers them.
type registry struct {
	to   prometheus.Registerer
	errs []error
}

// register registers c and returns it.
func register[C prometheus.Collector](r *registry, c C) C {
	r.errs = append(r.errs, r.to.Register(c))
	return c
}

func (r *registry) value(name, help string, labels prometheus.Labels, value func() float64) {
	register(r, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
}

func (r *registry) counter(name, help string) prometheus.Counter {
	return register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

func (r *registry) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// histogram has n buckets, the first up to start, and each factor times as wide.
func (r *registry) histogram(name, help string, start, factor float64, n int) prometheus.Histogram {
	return register(r, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help,
		Buckets: prometheus.ExponentialBuckets(start, factor, n)}))
}

func (m *metrics) countReceipt(result string) { m.receipts.WithLabelValues(result).Inc() }

func (m *metrics) countDelivery(result string) {
	if result == resultOK {
		m.delivered.Inc() // nearly all
		return
	}
	m.deliveries.WithLabelValues(result).Inc()
}

// arrived notes the delivery of a message; notices are not counted.
func (m *metrics) arrived(after time.Duration, f *sentCopy) {
	if f.seq > 0 && f.missed == 0 {
		m.latency.Observe(after.Seconds())
	}
}

func (m *metrics) typing(result string) { m.typed.WithLabelValues(result).Inc() }

func (m *metrics) postponed(v verdict) {
	reason := "failed"
	if v == offline || v == gone {
		reason = "offline"
	}
	m.retries.WithLabelValues(reason).Inc()
}

func (m *metrics) commit(d time.Duration, changes int, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.commits.WithLabelValues(result).Inc()
	m.commitTime.Observe(d.Seconds())
	m.batch.Observe(float64(changes))
}
