package relay

import (
	"github.com/prometheus/client_golang/prometheus"

	"imcd/evapi"
)

// gauge and counters of one connection, as Prometheus shows them.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s evapi.Stats) float64
}

// collector reads the connections' counters when Prometheus asks.
type collector struct {
	group   *Group
	metrics []metric
	refused *prometheus.Desc
	names   [4]*prometheus.Desc // found, missing, refused, waiting; see names.Counts
}

// Collector returns the connections' metrics, labelled with the Kamailio's name.
func (g *Group) Collector() prometheus.Collector {
	count := func(name, help string, v func(s evapi.Stats) uint64) metric {
		return metric{prometheus.NewDesc("imc_evapi_"+name, help, []string{"kamailio"}, nil), prometheus.CounterValue,
			func(s evapi.Stats) float64 { return float64(v(s)) }}
	}
	gauge := func(name, help string, v func(s evapi.Stats) float64) metric {
		return metric{prometheus.NewDesc("imc_evapi_"+name, help, []string{"kamailio"}, nil), prometheus.GaugeValue, v}
	}
	lookup := func(name, help string) *prometheus.Desc { return prometheus.NewDesc("imc_names_"+name, help, nil, nil) }
	return &collector{group: g, names: [4]*prometheus.Desc{
		lookup("found_total", "Names of other domains that were looked up and found."),
		lookup("missing_total", "Names of other domains that were looked up and not found, or whose name server was silent."),
		lookup("refused_total",
			"Copies for other domains that are tried again later, because too many names were looked up."),
		lookup("waiting", "Copies that wait until their name is looked up."),
	}, refused: prometheus.NewDesc("imc_shutdown_refused_total",
		"Messages answered 503 because imcd was shutting down.", nil, nil), metrics: []metric{
		gauge("up", "1 while connected and authenticated.", func(s evapi.Stats) float64 {
			if s.Up {
				return 1
			}
			return 0
		}),
		gauge("queued_frames", "Frames, and copies by SIP, that wait to be sent.",
			func(s evapi.Stats) float64 { return float64(s.Queued) }),
		gauge("shm_free_bytes", "Kamailio's shared memory that is free, as it said last.",
			func(s evapi.Stats) float64 { return float64(s.MemoryFree) }),
		gauge("shm_short", "1 while copies go slowly because Kamailio has less than a third of its shared memory left.",
			func(s evapi.Stats) float64 {
				if s.MemoryShort {
					return 1
				}
				return 0
			}),
		gauge("parked_requests", "Requests that wait in Kamailio for an imcd that owns their room, as it said last.",
			func(s evapi.Stats) float64 { return float64(s.Parked) }),
		count("held_total", "Times that copies waited because Kamailio had less than a third of its shared memory left.",
			func(s evapi.Stats) uint64 { return s.Held }),
		count("frames_in_total", "Frames read.", func(s evapi.Stats) uint64 { return s.FramesIn }),
		count("frames_out_total", "Frames written.", func(s evapi.Stats) uint64 { return s.FramesOut }),
		count("windows_total", "Windows of frames written.", func(s evapi.Stats) uint64 { return s.Windows }),
		count("reconnects_total", "Connections after the first.", func(s evapi.Stats) uint64 { return s.Reconnects }),
		count("decode_errors_total", "Frames that ended a connection because they made no sense.",
			func(s evapi.Stats) uint64 { return s.DecodeErrors }),
		count("unknown_events_total", "Frames with an unknown method.",
			func(s evapi.Stats) uint64 { return s.UnknownEvents }),
		count("frame_errors_total", "Frames that Kamailio refused.", func(s evapi.Stats) uint64 { return s.Errors }),
		count("results_total", "Outcomes of copies.", func(s evapi.Stats) uint64 { return s.Results }),
		count("sip_copies_total", "Copies sent to Kamailio as SIP requests, repetitions included.",
			func(s evapi.Stats) uint64 { return s.SIPSent }),
		count("sip_repeated_total", "Copies sent to Kamailio as SIP requests again, because nothing answered in time.",
			func(s evapi.Stats) uint64 { return s.SIPAgain }),
		count("sip_stray_total", "SIP that came and is no response that is awaited.",
			func(s evapi.Stats) uint64 { return s.SIPStray }),
		count("receipts_total", "Receipts (message/imdn+xml) that Kamailio answered and handed on.",
			func(s evapi.Stats) uint64 { return s.Receipts }),
		count("receipts_dropped_total",
			"Receipts that Kamailio answered and dropped, because there were more than IMC_RECEIPTS in a second.",
			func(s evapi.Stats) uint64 { return s.ReceiptsLost }),
		count("sip_no_via_total", "Responses to copies without a Via, as topos makes them: 0 in a Kamailio that works.",
			func(s evapi.Stats) uint64 { return s.SIPNoVia }),
		count("calls_total", "Requests of operators.", func(s evapi.Stats) uint64 { return s.Calls }),
	}}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.refused
	for _, d := range c.names {
		ch <- d
	}
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(c.group.refused.Load()))
	if c.group.book != nil {
		n := c.group.book.Counts()
		for i, v := range []uint64{n.Found, n.Missing, n.Refused} {
			ch <- prometheus.MustNewConstMetric(c.names[i], prometheus.CounterValue, float64(v))
		}
		ch <- prometheus.MustNewConstMetric(c.names[3], prometheus.GaugeValue, float64(n.Waiting))
	}
	for _, conn := range c.group.conns {
		s := conn.Stats()
		for _, m := range c.metrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), conn.Name())
		}
	}
}
