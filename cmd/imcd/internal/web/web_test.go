package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/evapi/evapitest/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers with its payload; a notification is not answered.
type echo struct{}

func (echo) Handle(_ context.Context, payload []byte) []byte {
	if string(payload) == "notification" {
		return nil
	}
	return payload
}

// parts are those of a daemon that is ready.
func parts() Parts {
	return Parts{
		RPC:      echo{},
		Metrics:  prometheus.NewRegistry(),
		Access:   Access{Loopback: loopback},
		Ping:     func(context.Context) error { return nil },
		Serving:  func() bool { return true },
		Missing:  func() ([]string, bool) { return nil, true },
		Warnings: func() []string { return nil },
		Stopping: func() bool { return false },
		Log:      zerolog.Nop(),
	}
}

func request(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8450"+path, strings.NewReader(body))
	for n := 0; n < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestReady(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p *Parts)
		code   int
		want   readiness
	}{
		{"all there", func(*Parts) {}, 200, readiness{true, []string{}, []string{}, []string{}}},
		{"one of two Kamailios", func(p *Parts) { p.Missing = func() ([]string, bool) { return []string{"b:1"}, true } },
			200, readiness{true, []string{}, []string{"b:1"}, []string{}}},
		{"no Kamailio", func(p *Parts) { p.Missing = func() ([]string, bool) { return []string{"a:1", "b:1"}, false } },
			503, readiness{false, []string{"kamailio"}, []string{"a:1", "b:1"}, []string{}}},
		{"no database", func(p *Parts) { p.Ping = func(context.Context) error { return errors.New("password: hunter2") } },
			503, readiness{false, []string{"database"}, []string{}, []string{}}},
		{"short of memory", func(p *Parts) { p.Warnings = func() []string { return []string{"a:1 has little left"} } },
			200, readiness{true, []string{}, []string{}, []string{"a:1 has little left"}}},
		{"stopping", func(p *Parts) { p.Stopping = func() bool { return true } },
			503, readiness{false, []string{"stopping"}, []string{}, []string{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parts()
			c.change(&p)
			w := request(Routes(p), "GET", "/readyz", "")
			want, err := json.Marshal(c.want)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(w.Body.String()); w.Code != c.code || got != string(want) {
				t.Errorf("%d %s, want %d %s", w.Code, got, c.code, want)
			}
		})
	}
}

// TestReadyAsksSeldom: the database is asked once in a second at most, however many ask.
func TestReadyAsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parts()
		var asked atomic.Int64
		var down atomic.Bool
		p.Ping = func(context.Context) error {
			asked.Add(1)
			runtime.Gosched() // lets the others come
			if down.Load() {
				return errors.New("away")
			}
			return nil
		}
		h := Routes(p)
		look := func(code int) {
			t.Helper()
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					if w := request(h, "GET", "/readyz", ""); w.Code != code {
						t.Errorf("%d, want %d", w.Code, code)
					}
				})
			}
			all.Wait()
		}
		for i, code := range []int{200, 503, 200} {
			down.Store(code == 503)
			look(code)
			if n := asked.Load(); n != int64(i+1) {
				t.Errorf("asked %d times within %d s", n, i+1)
			}
			<-time.After(pingAge)
		}
	})
}

func TestRoutes(t *testing.T) {
	h := Routes(parts())
	for _, c := range []struct {
		method, path, body string
		headers            []string
		code               int
		want               string
	}{
		{"GET", "/healthz", "", nil, 200, "ok"},
		{"HEAD", "/healthz", "", nil, 200, ""},
		{"GET", "/metrics", "", nil, 200, ""},
		{"POST", "/rpc", "question", nil, 200, "question"},
		{"POST", "/rpc", "question", []string{"Origin", "http://127.0.0.1:8450"}, 200, "question"},
		{"POST", "/rpc", "notification", nil, 204, ""},
		{"POST", "/rpc", strings.Repeat("x", maxRequest), nil, 200, "xxx"},
		{"POST", "/rpc", strings.Repeat("x", maxRequest+1), nil, 413, ""},
		{"POST", "/rpc", "question", []string{"Origin", "https://evil.example"}, 403, ""},
		{"POST", "/rpc", "question", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"GET", "/rpc", "", nil, 405, ""},
		{"POST", "/healthz", "", nil, 405, ""},
		{"GET", "/nothing", "", nil, 404, ""},
	} {
		w := request(h, c.method, c.path, c.body, c.headers...)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %v: %d %.80q, want %d", c.method, c.path, c.headers, w.Code, w.Body, c.code)
		}
	}
}

// TestDoorsWithToken: what asks for the token, and that profiles are off unless
// they are switched on.
func TestDoorsWithToken(t *testing.T) {
	p := parts()
	p.Access.Token = secret
	p.Console = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	p.Live = p.Console
	off := Routes(p)
	p.Console, p.Profile = nil, true
	on := Routes(p)
	for _, c := range []struct {
		h             http.Handler
		path          string
		with, without int
	}{
		{off, "/healthz", 200, 200},
		{off, "/readyz", 200, 200},
		{off, "/", 200, 200},
		{off, "/metrics", 200, 401},
		{off, "/ws", 200, 401},
		{on, "/debug/pprof/", 200, 401},
		{on, "/debug/pprof/heap", 200, 401},
		{on, "/debug/pprof/cmdline", 200, 401},
		{Routes(parts()), "/debug/pprof/", 404, 404},
	} {
		if w := request(c.h, "GET", c.path, "", "Authorization", "Bearer "+secret); w.Code != c.with {
			t.Errorf("%s with token: %d", c.path, w.Code)
		}
		if w := request(c.h, "GET", c.path, ""); w.Code != c.without {
			t.Errorf("%s without token: %d", c.path, w.Code)
		}
	}
	if w := request(off, "POST", "/rpc", "question"); w.Code != 401 {
		t.Errorf("/rpc without token: %d", w.Code)
	}
}

func TestServes(t *testing.T) {
	s, err := Listen("127.0.0.1:0", parts())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Stop(t.Context())
	if _, b := kit.Get(t, "http://"+s.Addr().String()+"/healthz"); string(b) != "ok\n" {
		t.Errorf("got %q", b)
	}
	if _, err := Listen(s.Addr().String(), parts()); err == nil {
		t.Error("two servers on one port")
	}
}
