package engine

import (
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imcd/evapi"
)

// metrics counts what the engine does. No label holds what a client chose.
type metrics struct {
	rooms      prometheus.Gauge
	messages   prometheus.Counter
	requests   *prometheus.CounterVec // by command and final code
	deliveries *prometheus.CounterVec // by result
	delivered  prometheus.Counter     // of them: ok
	dropped    prometheus.Counter
	lost       *prometheus.CounterVec // messages, by reason
	repeated   prometheus.Counter
	typed      *prometheus.CounterVec // by result
	expired    prometheus.Counter
	withheld   prometheus.Counter
	limited    *prometheus.CounterVec // by limit
	receipts   *prometheus.CounterVec // by result
	// of these kinds, receipts for senders
	receiptsSent prometheus.Counter
	pruned       prometheus.Counter
	shed         prometheus.Counter
	latency      prometheus.Histogram
	retries      *prometheus.CounterVec // by reason
	commits      *prometheus.CounterVec // by result
	commitTime   prometheus.Histogram
	batch        prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, c *credits, h *held) (*metrics, error) {
	m := &metrics{
		rooms: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "imc_active_rooms", Help: "Rooms that exist."}),
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_messages_total", Help: "Messages to rooms that were accepted."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_requests_total", Help: "Requests by command (message for none) and final reply."},
			[]string{"command", "code"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_deliveries_total",
			Help: "Outcomes of copies to recipients: ok; known (it had come before); offline, timeout, error, " +
				"lost (sent again); refused; stray (came twice or too late)."},
			[]string{"result"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_dropped_total",
			Help: "Copies given up because a limit of what a room or user may have waiting was reached."}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_lost_total",
			Help: "Messages that were accepted and never reach a member, by reason: refused (its content, by " +
				"the phone), unsendable, no answer (from somebody who is there), by operator."},
			[]string{"reason"}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_repeated_total",
			Help: "Copies sent again while they were under way, because their user has registered."}),
		typed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_typing_total",
			Help: "Copies of \"is typing\" to members that are online: sent; dropped (too many, or something " +
				"else to send)."},
			[]string{"result"}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_expired_total",
			Help: "Copies not sent because the time that the sender gave them (Expires) was over."}),
		withheld: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_notices_withheld_total",
			Help: "Notices about refused messages that were not sent because of notice_repeat."}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_limited_total",
			Help: "Requests answered 480 because of a limit of a rate, by its key in the configuration."},
			[]string{"limit"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_receipts_total",
			Help: "Receipts of members' clients: delivered, displayed, failed, other; notice (about one); " +
				"ignored (forged, old or unreadable); dropped (too many at a time)."},
			[]string{"result"}),
		receiptsSent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_receipts_sent_total",
			Help: "Receipts that senders were sent: delivered and displayed, one of each for a message."}),
		pruned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_pruned_total",
			Help: "Stored messages deleted because of room_messages, room_bytes or message_age."}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imc_shed_total",
			Help: "Messages answered 503 because those before them in the room wait too long to be delivered " +
				"(max_delay)."}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "imc_delivery_seconds",
			Help:    "From the acceptance of a message to its arrival at a member, offline times included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12)}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_put_off_total",
			Help: "Copies put off: to be sent again later (failed), or when the member registers (offline)."},
			[]string{"reason"}),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imc_commits_total", Help: "Database transactions by result: ok or error."}, []string{"result"}),
		commitTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "imc_commit_seconds", Help: "Duration of a database transaction.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "imc_commit_changes", Help: "Changes in one database transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12)}),
	}
	for _, why := range lossReasons {
		m.lost.WithLabelValues(why) // so that the first one is seen as an increase
	}
	m.delivered = m.deliveries.WithLabelValues(resultOK)
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	var errs []error
	for _, one := range []prometheus.Collector{
		m.rooms, m.messages, m.requests, m.deliveries, m.dropped, m.lost,
		m.repeated, m.typed, m.expired, m.withheld, m.limited,
		m.receipts, m.receiptsSent, m.pruned, m.shed, m.latency, m.retries, m.commits, m.commitTime, m.batch,
		gauge("imc_outstanding", "Copies under way to recipients.", func() float64 { return float64(c.inUse()) }),
		gauge("imc_backlog_bytes", "Bytes of messages and notices that wait for recipients.",
			func() float64 { return float64(h.waiting.Load()) }),
		heldGauge("requests", &h.requests), heldGauge("waiting", &h.waiting), heldGauge("read", &h.pages),
		heldGauge("kept", &h.kept), heldGauge("copies", &h.copies),
	} {
		errs = append(errs, reg.Register(one))
	}
	return m, errors.Join(errs...)
}

// heldGauge shows one part of held.
func heldGauge(what string, bytes *atomic.Int64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imc_held_bytes",
		Help: "Bytes of what people say that imcd holds; total_log_bytes bounds the sum. Of requests without an " +
			"answer (requests), messages and notices that wait for recipients (waiting), what was read from the " +
			"database (read), notices for users that are offline (kept), copies under way (copies).",
		ConstLabels: prometheus.Labels{"what": what}}, func() float64 { return float64(bytes.Load()) })
}

func (m *metrics) request(req *request, a evapi.Answer) {
	name := req.kind()
	m.requests.WithLabelValues(name, strconv.Itoa(a.Code)).Inc()
	if name == "message" && a.RC == rcOK {
		m.messages.Inc()
	}
}

func (m *metrics) receipt(result string) { m.receipts.WithLabelValues(result).Inc() }

func (m *metrics) delivery(result string) {
	if result == resultOK {
		m.delivered.Inc() // nearly all
		return
	}
	m.deliveries.WithLabelValues(result).Inc()
}

// arrived notes the delivery of a message; notices are not counted.
func (m *metrics) arrived(after time.Duration, f *flight) {
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
