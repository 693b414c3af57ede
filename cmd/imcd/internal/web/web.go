// Package web is imcd's HTTP side: whether it lives and is ready, its metrics,
// JSON-RPC, and the way to the WebSocket and the console.
//
// Without a token in the configuration every client that can connect may ask, and only
// this host can. With one, everything but /healthz, /readyz and the files of the
// console, which hold no data, asks for it.
package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"
)

// Bounds of the memory that clients can make imcd use.
const (
	maxConns   = 256      // at a time; more wait in the kernel's queue
	maxRequest = 64 << 10 // bytes of one JSON-RPC request
)

// Handler answers one JSON-RPC payload; nil means no answer.
// *jsonrpc.Server is one.
type Handler interface {
	Handle(ctx context.Context, payload []byte) []byte
}

// Parts are those of the daemon that HTTP shows.
type Parts struct {
	RPC     Handler
	Metrics prometheus.Gatherer
	Access  Access
	// Live serves the WebSocket; nil: there is none.
	Live http.Handler
	// Console serves the console's files; nil: there is none.
	Console http.Handler
	// Profile: /debug/pprof is there.
	Profile bool
	// Ping reports whether the database can be used now.
	Ping func(ctx context.Context) error
	// Missing names the Kamailios that are not connected; connected says
	// whether any is.
	Missing func() (names []string, connected bool)
	// Warnings says what an operator should look at although imcd is ready, in a sentence
	// each; empty: nothing.
	Warnings func() []string
	// Stopping reports whether imcd has begun to shut down.
	Stopping func() bool
	// Serving reports whether the rooms are here: a spare waits for them.
	Serving func() bool
	Log     zerolog.Logger
}

// Server serves HTTP on one port.
type Server struct {
	ln   net.Listener
	http *http.Server
	log  zerolog.Logger
	done chan struct{} // closed when serving has ended
}

// Listen opens the port; it is served from Start on.
func Listen(addr string, p Parts) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for HTTP: %w", err)
	}
	return &Server{
		ln:   netutil.LimitListener(ln, maxConns),
		log:  p.Log,
		done: make(chan struct{}),
		http: &http.Server{
			Handler:           Routes(p),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          log.New(p.Log, "", 0),
		},
	}, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Start begins to serve; it returns at once.
func (s *Server) Start() {
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error().Err(err).Msg("serving HTTP ended")
		}
	}()
}

// Stop closes the port, lets requests under way end for as long as ctx lasts,
// and waits until nothing is served any more. Only after Start.
func (s *Server) Stop(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.done
}

// Close closes the port of a Server that was never started.
func (s *Server) Close() { _ = s.ln.Close() }

// Routes returns the handlers by path.
func Routes(p Parts) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	db := &database{ping: p.Ping, log: p.Log}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { p.ready(w, db) })
	guarded := func(pattern string, h http.Handler) { mux.Handle(pattern, p.Access.Guard(h)) }
	guarded("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	guarded("POST /rpc", http.HandlerFunc(p.call))
	if p.Live != nil {
		guarded("GET /ws", p.Live)
	}
	if p.Console != nil {
		mux.Handle("GET /", p.Console)
	}
	if p.Profile {
		guarded("GET /debug/pprof/", http.HandlerFunc(pprof.Index))
		guarded("GET /debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
		guarded("GET /debug/pprof/profile", http.HandlerFunc(pprof.Profile)) // ?seconds= below WriteTimeout
		guarded("GET /debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
		guarded("GET /debug/pprof/trace", http.HandlerFunc(pprof.Trace))
	}
	return mux
}

func (p *Parts) call(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		code := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "reading the request: "+err.Error(), code)
		return
	}
	answer := p.RPC.Handle(r.Context(), body)
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(answer)
}
