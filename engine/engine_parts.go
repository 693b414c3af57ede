package engine

import (
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// The parts of an engine that are shared by its shards. Who may touch a field stands beside it; the files with the
// names of the parts have what they do.

// ownership is which of the fleet's shards this engine has.
type ownership struct {
	mask   uint32        // of the hash of a room
	loaded []atomic.Bool // by shard: its rooms are here; nil: there is no fleet, and all are

	mu    sync.Mutex      // held while shards are taken or handed over
	owned map[int64]int64 // epochs of those whose commits prove that they belong to this engine; by mu
}

// served has the reports of the Kamailios about rooms and domains. Immutable: Welcomed makes a new one.
type served struct {
	rules   []roomRule      // of each Kamailio that reports one
	silent  bool            // a Kamailio reports none, or there is none yet: any name may be a room's
	domains map[string]bool // own hosts, in lower case, IPv6 addresses without brackets
	native  bool            // a Kamailio hands over requests of clients that know rooms as group chats
	any     bool            // every domain is own, or it is not known which are
}

// roomRule says which user parts one Kamailio takes for rooms.
type roomRule struct {
	evapi.RoomRule
	expr *regexp.Regexp // nil: it cannot be checked here
}

// metrics counts what the engine does. No label has a value that a client chose.
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
	grouped    *prometheus.CounterVec // by method and result
	expired    prometheus.Counter
	withheld   prometheus.Counter
	limited    *prometheus.CounterVec // by limit
	receipts   *prometheus.CounterVec // by result
	// of these kinds, receipts for senders
	receiptsSent prometheus.Counter
	pruned       prometheus.Counter
	unreported   prometheus.Counter
	shed         prometheus.Counter
	// events that were not stored for the webhook
	webhookDropped prometheus.Counter
	latency        prometheus.Histogram
	retries        *prometheus.CounterVec // by reason
	commits        *prometheus.CounterVec // by result
	commitTime     prometheus.Histogram
	batch          prometheus.Histogram
}

// deviceID names a device of a user.
type deviceID struct{ user, device string }

// DeviceReport is what another imcd of a fleet must know of a registration: the rest is in the database.
type DeviceReport struct {
	User   string `json:"user"`   // SIP URI
	Device string `json:"device"` // see store.DeviceRow; empty: none of the user has registered
	Gone   int64  `json:"gone"`   // from when on the device is owed messages, in ms of Unix time; 0: it is not
}

// owedDevice is what a device is owed, or devices of a user are (allDevices), until the database knows.
type owedDevice struct {
	user    store.Name
	at      int64    // from when on, in ms of Unix time
	device  *device  // nil: allDevices
	absence absence  // of allDevices
	then    []func() // called once it does
}

// reports are what registrations say of devices, until it is written to the store. Connections add to
// them, and one goroutine writes them.
type reports struct {
	store   store.Store
	log     zerolog.Logger
	most    int // devices of a user that are kept; 0: there are no reports
	dropped prometheus.Counter
	wake    chan struct{} // holds one token while there may be some
	hurry   chan struct{} // the same, if they are to be written soon
	soon    time.Duration // so soon

	devices  *userDevices                // nil in tests, as the next three are
	back     func(comeback)              // takes a registered device that is owed something
	replaced func(*device)               // takes one that has registered with another contact
	several  func(store.Name, time.Time) // takes a user who has several devices from that time on
	pass     func([]DeviceReport)        // for other imcd; nil: there are none

	mu      sync.Mutex
	waiting map[deviceID]store.DeviceRow // guarded by mu
	owing   map[deviceID]*owedDevice     // guarded by mu: forks and maxReports bound it
	heard   map[deviceID]DeviceReport    // guarded by mu: from other imcd
	writing chan struct{}                // holds one token while somebody writes
}

// comeback is a device that is owed what its user's other devices have got from row.GoneAt on.
type comeback struct {
	row store.DeviceRow
	via *evapi.Conn // may be nil: imcd was started after the registration
	// until is when the device registered, if one copy was for all devices then: what was accepted later has reached
	// it as well. Zero: what is said meanwhile waits for it in lanes.
	until  time.Time
	device *device // nil: one copy is for all devices
	tried  bool    // it has not registered, but there is something new for it
}

// stuck is a message that a device has not taken: it may crash of it.
type stuck struct {
	at    time.Time // when it was accepted
	tries int       // comebacks in which it was the first one that was not taken
}

// comebacks are devices that have come back and are owed something. Workers bring it.
type comebacks struct {
	engine *Engine
	wake   chan struct{} // holds one token for each worker that is to look

	mu      sync.Mutex
	waiting []comeback            // guarded by mu
	known   map[deviceID]struct{} // guarded by mu: those in waiting, and those that workers have
	stuck   map[deviceID]stuck    // guarded by mu
}

// locator asks location tables for the contacts of users. Readers of connections and the goroutine of reports add
// users, and one goroutine asks.
type locator struct {
	devices *userDevices
	log     zerolog.Logger
	send    func([]evapi.Wanted) error // nil: there is nobody to ask; set before Start
	wake    chan struct{}              // holds one token while there may be some

	mu      sync.Mutex
	waiting map[string]evapi.Wanted // by mu; by user key
	all     bool                    // by mu: all users of devices are to be asked for
}

// nativeDevice is one of them.
type nativeDevice struct {
	gruu  string    // of a native one its public GRUU, a SIP URI; else a temporary one, see evapi.Device
	temp  string    // of a native one: its temporary GRUU; empty: it is not known
	plain bool      // it knows no groups
	until time.Time // its registration ends; zero: the store knows it, and no registration has been seen
}

// nativeDevices are the devices of users who have one that knows rooms as group chats. Connections and shards read and
// write them.
type nativeDevices struct {
	all    *userDevices
	some   atomic.Bool // there was one since the start
	mu     sync.RWMutex
	byUser map[string][]nativeDevice // guarded by mu: by key of the user; lists are never changed, but replaced
}
