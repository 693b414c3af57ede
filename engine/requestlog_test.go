package engine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/evapitest/kit"
)

// logBuffer is a log that the test can read.
type logBuffer struct{ kit.Output }

// lines are the logged lines with that message.
func (b *logBuffer) lines(t *testing.T, message string) (lines []map[string]any) {
	for line := range strings.Lines(b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if m["message"] == message {
			lines = append(lines, m)
		}
	}
	return lines
}

// loggingHouse is a house whose engine logs into the buffer.
func loggingHouse(t *testing.T, level zerolog.Level, change func(*Config)) (*house, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	h := startHouse(t, newMemStore(), change)
	h.close()
	cfg := h.e.cfg
	e, err := New(cfg, h.store, h.relay, prometheus.NewRegistry(), zerolog.New(log).Level(level))
	if err != nil {
		t.Fatal(err)
	}
	h.e, h.relay.engine = e, e
	if err := e.Start(t.Context(), store.Fleet{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h, log
}

// TestFollowAMessage: from the Call-ID of a request to those of its copies, and
// nothing of what was said.
func TestFollowAMessage(t *testing.T) {
	h, log := loggingHouse(t, zerolog.InfoLevel, func(c *Config) { c.LogRequests = true })
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	m := h.request("alice", "r@x.org", "hunter2")
	again := *m
	h.relay.take()
	h.want(<-h.send(m), 200, 1)
	h.quiet()
	copies := h.relay.take()
	h.want(<-h.send(&again), 200, 1)
	h.say("alice", "r", "#dance hunter2")
	h.say("alice", "r", "#add <hunter2")
	h.quiet()

	var found []map[string]any
	for _, l := range log.lines(t, "request") {
		if l["call_id"] == m.Request.CallID().Value() {
			found = append(found, l)
		}
	}
	if len(found) != 2 || found[0]["repeated"] != nil || found[1]["repeated"] != true {
		t.Fatalf("lines of the request: %v", found)
	}
	want := map[string]any{"from": "alice@x.org", "room": "r@x.org", "command": "message", "code": 200.0, "rc": 1.0,
		"seq": 1.0}
	for k, v := range want {
		if found[0][k] != v {
			t.Errorf("%s is %v, should be %v", k, found[0][k], v)
		}
	}
	found = nil
	for _, l := range log.lines(t, "delivery") {
		if l["room"] == "r@x.org" && l["seq"] == 1.0 {
			found = append(found, l)
		}
	}
	if len(copies) != 1 || len(found) != 1 || found[0]["call_id"] != copies[0].callID || found[0]["to"] != "bob@x.org" ||
		found[0]["code"] != 200.0 || found[0]["result"] != "ok" || found[0]["took"] == nil {
		t.Errorf("copies %v, lines %v", copies, found)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("what was said is in the log:\n%s", log.String())
	}
}

// TestLogIsQuiet: at info nothing is logged of requests unless asked for; at debug
// it is.
func TestLogIsQuiet(t *testing.T) {
	for level, want := range map[zerolog.Level]bool{zerolog.InfoLevel: false, zerolog.DebugLevel: true} {
		h, log := loggingHouse(t, level, nil)
		h.say("alice", "r", "#create")
		h.quiet()
		if got := len(log.lines(t, "request")) > 0; got != want {
			t.Errorf("level %v: logged is %v", level, got)
		}
	}
}

// TestLogOffIsFree: the log of requests allocates nothing when it is off.
func TestLogOffIsFree(t *testing.T) {
	h, _ := loggingHouse(t, zerolog.InfoLevel, nil)
	req := h.e.newRequest(h.request("alice", "r@x.org", "hi"))
	s := h.e.shards[0]
	f := &sentCopy{id: "x", room: newRoom(req.room, 1), member: &member{key: "bob@x.org"}, tries: 1}
	a, r := evapi.Answer{Code: 200, Reason: "OK"}, evapi.Result{CallID: "x", Code: 200}
	if n := testing.AllocsPerRun(100, func() {
		h.e.logRequest(req, a, false)
		s.delivery.logDelivery(f, r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
