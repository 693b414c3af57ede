package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// echo is a relay whose recipients have everything at once.
type echo struct {
	engine *Engine
	asked  chan evapi.Answer
	last   chan struct{} // gets a value when the last of a message's copies has come
	left   int           // copies of the current message; the shard's
}

// Move says that there is no other engine.
func (*echo) Move(*evapi.Message, int) error { return evapi.ErrAlone }

func (r *echo) Reply(_ *evapi.Message, a evapi.Answer) { r.asked <- a }

func (r *echo) Send(_ *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	r.engine.Result(evapi.Result{CallID: c.CallID, Code: 200})
	if r.left--; r.left == 0 {
		r.last <- struct{}{}
	}
	return nil, nil
}

func (r *echo) Bounds() evapi.Bounds { return evapi.Bounds{Paced: true} }

// filled is a store with one room.
type filled struct {
	*memStore
	room store.RoomState
}

func (f filled) Load(_ context.Context, _ store.Part, fn func(store.RoomState) error) error {
	return fn(f.room)
}

// BenchmarkFanOut is what the engine itself costs per copy, the answer to it
// included.
func BenchmarkFanOut(b *testing.B) {
	for _, members := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			relay := &echo{asked: make(chan evapi.Answer, 1), last: make(chan struct{}, 1)}
			room := store.RoomState{Room: store.RoomRow{Name: store.Name{User: "r", Host: "x.org"}, ID: 7}}
			for i := range members + 1 {
				room.Members = append(room.Members, store.MemberRow{Room: room.Room.Name,
					User: store.Name{User: fmt.Sprint("user", i), Host: "x.org"}})
			}
			e, err := New(DefaultConfig(), filled{newMemStore(), room}, relay, prometheus.NewRegistry(), zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			relay.engine = e
			if err := e.Start(context.Background(), store.Fleet{}); err != nil {
				b.Fatal(err)
			}
			defer e.Stop(context.Background())
			h := &house{t: b, store: newMemStore()} // makes requests
			b.ReportAllocs()
			for b.Loop() {
				relay.left = members
				e.Message(h.request("user0", "r@x.org", "hello"))
				if a := <-relay.asked; a.Code != 200 {
					b.Fatal(a)
				}
				<-relay.last
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members), "ns/copy")
		})
	}
}
