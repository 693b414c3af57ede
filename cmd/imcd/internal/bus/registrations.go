// Package bus passes on to the other imcd of a fleet what only this one hears.
package bus

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine"
	"imcd/schema"
)

// Kamailio reports a registration to one imcd. Others may have the rooms that the user is in, so
// they hear of it as well.

// Kinds of rows.
const (
	kindRegistered = "registered" // the body is a JSON array of SIP URIs
	kindMissed     = "missed"     // registrations may have been missed; no body
	kindDevices    = "devices"    // the body is a JSON array of engine.DeviceReport
)

const (
	// gatherFor is the time between two rows: users who register meanwhile share one.
	gatherFor = 100 * time.Millisecond
	// maxUsers bounds the users that wait for it. If there are more, others look for all users who are offline.
	maxUsers = 4096
	// missedEvery is how often they do, at most.
	missedEvery = 5 * time.Second
)

// Store carries what imcd say to each other; *schema.Store is one. Its methods must not block.
type Store interface {
	Publish(r schema.BusRow) error
	Shared() bool
}

// Rooms take what others say; *engine.Engine is one.
type Rooms interface {
	Registered(aor string)
	HearDevices(list []engine.DeviceReport)
	Wake()
}

// Registrations passes on who has registered. Make one with NewRegistrations.
type Registrations struct {
	store Store
	log   zerolog.Logger

	passed, missed prometheus.Counter

	mu     sync.Mutex
	users  map[string]struct{} // by mu: SIP URIs
	lost   bool                // by mu: others have to look for all users
	wake   chan struct{}       // holds a token while there may be something to pass on
	stop   chan struct{}
	loop   sync.WaitGroup
	warned time.Time // when others had to look for all users last; owned by the loop
}

// NewRegistrations returns one that passes on nothing before Start.
func NewRegistrations(store Store, log zerolog.Logger) *Registrations {
	return &Registrations{store: store, log: log, users: make(map[string]struct{}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
		passed: prometheus.NewCounter(prometheus.CounterOpts{Name: "imc_registrations_passed_total",
			Help: "Registrations that this imcd has passed on to the others of its fleet."}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{Name: "imc_registrations_missed_total",
			Help: "How often the others had to try all users that are offline, as there were too many registrations."}),
	}
}

// Describe implements prometheus.Collector.
func (r *Registrations) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(r, descs)
}

// Collect implements prometheus.Collector.
func (r *Registrations) Collect(metrics chan<- prometheus.Metric) {
	r.passed.Collect(metrics)
	r.missed.Collect(metrics)
}

// Registered notes that a user has registered; aor may be the GRUU of a device (evapi.Registration.Of). It does not
// block. Nothing is passed on while no other
// imcd has rooms.
func (r *Registrations) Registered(aor string) {
	if !r.store.Shared() {
		return
	}
	name, err := engine.ParseName(aor, "")
	if err != nil {
		return
	}
	uri := name.URI()
	if _, gr, ok := strings.Cut(aor, ";gr="); ok {
		uri += ";gr=" + gr
	}
	r.mu.Lock()
	if len(r.users) < maxUsers {
		r.users[uri] = struct{}{}
	} else {
		r.lost = true
	}
	r.mu.Unlock()
	r.signal()
}

// Devices passes on what others must know of devices. It does not block.
func (r *Registrations) Devices(list []engine.DeviceReport) {
	if !r.store.Shared() {
		return
	}
	body, err := json.Marshal(list)
	if err == nil {
		err = r.store.Publish(schema.BusRow{Kind: kindDevices, Body: string(body)})
	}
	if err != nil { // they hear of a device with its next registration
		r.log.Warn().Err(err).Int("devices", len(list)).Msg("registrations of devices are not passed on")
	}
}

// Missed notes that registrations may have been missed: a Kamailio is connected again. It does not block.
func (r *Registrations) Missed() {
	if !r.store.Shared() {
		return
	}
	r.mu.Lock()
	r.lost = true
	r.mu.Unlock()
	r.signal()
}

func (r *Registrations) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Start begins to pass on.
func (r *Registrations) Start() { r.loop.Go(r.run) }

// Stop passes on what is there, and ends. It is called once, after Start.
func (r *Registrations) Stop() {
	close(r.stop)
	r.loop.Wait()
}

func (r *Registrations) run() {
	for {
		select {
		case <-r.wake:
		case <-r.stop:
			r.publish(time.Now())
			return
		}
		if left := r.publish(time.Now()); left {
			r.signal()
		}
		select {
		case <-time.After(gatherFor):
		case <-r.stop:
			r.publish(time.Now())
			return
		}
	}
}

// publish passes on what is there, and reports whether something is left.
func (r *Registrations) publish(now time.Time) (left bool) {
	r.mu.Lock()
	var users map[string]struct{} // nobody else has it: others may add to r.users as soon as mu is free
	if len(r.users) > 0 {
		users, r.users = r.users, make(map[string]struct{})
	}
	all := r.lost
	if all && now.Sub(r.warned) < missedEvery {
		all, left = false, true
	} else {
		r.lost = false
	}
	r.mu.Unlock()
	if len(users) > 0 {
		if err := r.publishUsers(users); err != nil { // others look for all users once a row can be written
			r.log.Debug().Err(err).Int("users", len(users)).Msg("registrations are not passed on")
			r.mu.Lock()
			r.lost = true
			r.mu.Unlock()
			return true
		}
		r.passed.Add(float64(len(users)))
	}
	if all {
		if err := r.store.Publish(schema.BusRow{Kind: kindMissed}); err != nil {
			r.mu.Lock()
			r.lost = true
			r.mu.Unlock()
			return true
		}
		r.missed.Inc()
		r.warned = now
	}
	return left
}

func (r *Registrations) publishUsers(users map[string]struct{}) error {
	uris := make([]string, 0, len(users))
	for uri := range users {
		uris = append(uris, uri)
	}
	slices.Sort(uris)
	body, err := json.Marshal(uris)
	if err != nil {
		return err
	}
	return r.store.Publish(schema.BusRow{Kind: kindRegistered, Body: string(body)})
}

// Hear gives rooms what another imcd has passed on.
func (r *Registrations) Hear(row schema.BusRow, rooms Rooms) {
	switch row.Kind {
	case kindMissed:
		rooms.Wake()
	case kindRegistered:
		var users []string
		if err := json.Unmarshal([]byte(row.Body), &users); err != nil {
			r.log.Warn().Err(err).Int64("engine", row.From).Msg("registrations at another imcd cannot be read")
			return
		}
		for _, uri := range users {
			rooms.Registered(uri)
		}
	case kindDevices:
		var list []engine.DeviceReport
		if err := json.Unmarshal([]byte(row.Body), &list); err != nil {
			r.log.Warn().Err(err).Int64("engine", row.From).Msg("devices at another imcd cannot be read")
			return
		}
		rooms.HearDevices(list)
	}
}
