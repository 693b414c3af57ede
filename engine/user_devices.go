package engine

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/engine/store"
	"imcd/evapi"
)

// A user with several registered devices gets a copy for each of them, with an outcome of its own (fork). Other users
// get one for all, which Kamailio sends to the device that there is.

// userDevices are the registered devices of users with several of them, and of users with one that is owed something,
// or that another one has just left alone: messages that were accepted before may still be on their way, and one that
// the user has written on the other one is for this one. Shards read it.
type userDevices struct {
	departures *arrivals // users of whom a device is not registered any more

	mu        sync.Mutex   // for put
	some      atomic.Int64 // users in it; with none, a copy costs one load
	byUser    sync.Map     // []*device by user key; a list is never changed
	kamailios sync.Map     // *kamailio by name
}

func newUserDevices() *userDevices { return &userDevices{departures: newArrivals(departFor)} }

// kamailio is a connection as devices have it.
type kamailio struct {
	conn  atomic.Pointer[evapi.Conn] // nil: not connected yet
	tells atomic.Bool                // its outcomes name the device
}

// device is a registered device. A registration with another contact makes a new one.
type device struct {
	row      store.DeviceRow // of its first registration; never changed
	kamailio *kamailio
	expires  atomic.Int64           // in ms of Unix time
	source   atomic.Pointer[string] // store.DeviceRow.Source of its last registration; not nil

	mu        sync.Mutex
	gone      int64 // by mu: it is owed what was accepted from then on, in ms of Unix time; 0: nothing
	again     int64 // by mu: likewise, from a time while it was returning
	returning bool  // by mu: it gets what it is owed; what comes meanwhile waits behind that
	returns   int64 // by mu: how often it has done so
	pause     int64 // by mu: the wait after its last failure, in ms; 0: it has answered
	tryAt     int64 // by mu: when it is tried again without a registration, in ms of Unix time
	exact     bool  // by mu: it had everything in all rooms when it failed, so lanes know what it is owed
	slow      bool  // by mu: it answers, but not as fast as others: it is tried again at once
	renewed   bool  // by mu: likewise, as it has registered while it was returning, perhaps over a new connection
	present   bool  // by mu: userDevices has it
	settled   int64 // by mu: the gone with which its last return began; the database may still have that
}

const (
	// deviceRetry is how long a registered device that has failed is left alone, and twice as long after the next
	// failure …
	deviceRetry = 10 * time.Second
	// … up to this time.
	deviceRetryMax = 15 * time.Minute
)

// kamailioOf is the one with the name of a connection. Without a name it is that of a test.
func (u *userDevices) kamailioOf(name string) *kamailio {
	if k, ok := u.kamailios.Load(name); ok {
		return k.(*kamailio)
	}
	k, _ := u.kamailios.LoadOrStore(name, &kamailio{})
	return k.(*kamailio)
}

// welcomed notes a connection, and whether outcomes that come over it name the device.
func (u *userDevices) welcomed(name string, w *evapi.Welcome) {
	k := u.kamailioOf(deviceText(name))
	if w.Conn != nil {
		k.conn.Store(w.Conn)
	}
	k.tells.Store(slices.Contains(w.Features, evapi.FeatureDevices))
}

// of lists the devices of a user; nil: one copy is for all that there are.
func (u *userDevices) of(userKey string) []*device {
	if u.some.Load() == 0 {
		return nil
	}
	list, ok := u.byUser.Load(userKey)
	if !ok {
		return nil
	}
	return list.([]*device)
}

// find is the present device of a name; nil: there is none.
func (u *userDevices) find(userKey, name string) *device {
	for _, v := range u.of(userKey) {
		if v.row.Device == name {
			return v
		}
	}
	return nil
}

// put takes the stored devices of a user. It returns those that must get what they are owed now. comes reports whether
// a device has just registered.
func (u *userDevices) put(userKey string, rows []store.DeviceRow, now time.Time,
	comes func(*store.DeviceRow) bool) (back []*device) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.of(userKey)
	list, owed := []*device{}, false
	for i := range rows {
		r := &rows[i]
		if !r.Expires.After(now) || !r.Expires.After(r.OKAt) {
			continue
		}
		if r.GRUU == "" || r.CallID == "" && mayBeTwo(r.Device) {
			list = nil // it may be another one
			break
		}
		v := u.deviceOf(was, r)
		if v.comes(r, comes(r), now) {
			back = append(back, v)
		}
		owed = owed || v.owed()
		list = append(list, v)
	}
	several := len(list) > 1 || len(list) == 1 && (owed || was != nil && u.departures.has(userKey, now))
	switch {
	case several:
		u.byUser.Store(userKey, list)
		if was == nil {
			u.some.Add(1)
		}
	case was != nil:
		u.byUser.Delete(userKey)
		u.some.Add(-1)
	}
	if !several {
		return nil
	}
	return back
}

// mayBeTwo reports whether two devices may have this name (deviceName): they have no instance, and reach Kamailio by
// connections from one host. Kamailio says where it knows of one only (store.DeviceRow.CallID).
func mayBeTwo(name string) bool {
	_, host, derived := strings.Cut(name, "@")
	return derived && !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":")
}

// deviceOf is the device of a row: the one that there was, if it has the same contact.
func (u *userDevices) deviceOf(was []*device, r *store.DeviceRow) *device {
	v := &device{row: *r, kamailio: u.kamailioOf(r.Kamailio)}
	for _, old := range was {
		if old.row.Device != r.Device {
			continue
		}
		if old.row.GRUU == r.GRUU && old.row.Kamailio == r.Kamailio {
			return old
		}
		v.gone, v.exact, v.settled = old.state()
	}
	return v
}

// comes takes a registration. It reports whether the device must get now what it is owed.
func (v *device) comes(r *store.DeviceRow, now bool, at time.Time) bool {
	v.expires.Store(r.Expires.UnixMilli())
	v.source.Store(&r.Source)
	v.mu.Lock()
	defer v.mu.Unlock()
	// What the database had may be older than what is known here.
	gone := millisOf(r.GoneAt)
	if gone != 0 && !v.returning && gone != v.settled && (now || !v.present) {
		v.exact = v.exact && v.gone != 0
		v.gone = earlier(v.gone, gone)
	}
	v.present = true
	if !now {
		return false
	}
	v.pause = 0
	v.renewed = v.returning
	return v.begins(at)
}

// begins lets a device return that is owed something. It is called with mu held.
func (v *device) begins(now time.Time) bool {
	if v.gone == 0 || v.returning {
		return false
	}
	v.returning, v.slow, v.renewed = true, false, false
	v.returns++
	v.pause = min(max(2*v.pause, deviceRetry.Milliseconds()), deviceRetryMax.Milliseconds())
	v.tryAt = now.UnixMilli() + v.pause
	return true
}

// tries reports whether a registered device that has failed gets now what it is owed, though it has not registered:
// there is something new for it.
func (v *device) tries(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return (v.slow || v.renewed || now.UnixMilli() >= v.tryAt) && v.begins(now)
}

// triesAtOnce is tries for a device that was only slow, or has registered while it was tried.
func (v *device) triesAtOnce(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return (v.slow || v.renewed) && v.begins(now)
}

// earlier is the earlier one of two times; 0 is none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// takes reports whether the device gets messages now. held reports that they wait for what it is owed; returns is the
// number of its return.
func (v *device) takes() (yes, held bool, returns int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return (v.gone == 0 || v.returning) && v.again == 0, v.returning, v.returns
}

// owe notes that it has not got what was accepted at a time, in ms of Unix time, and gets nothing after that now. slow
// says that it answers, but not as fast as the others.
func (v *device) owe(at int64, now time.Time, slow bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.returning {
		v.again, v.exact = earlier(v.again, at), false
	} else {
		v.exact = v.exact || v.gone == 0
		v.gone = earlier(v.gone, at)
	}
	if v.slow = slow; !slow {
		v.pause = max(v.pause, deviceRetry.Milliseconds())
		v.tryAt = max(v.tryAt, now.UnixMilli()+v.pause)
	}
}

// returned ends a return that began with what was accepted at since: the device has got what was accepted before upTo,
// both in ms of Unix time; 0: everything. It returns from when on the device is owed something now.
func (v *device) returned(since, upTo int64) (owed int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gone, v.again, v.returning, v.settled = earlier(v.again, upTo), 0, false, since
	if v.gone == 0 {
		v.pause, v.exact = 0, false
	}
	return v.gone
}

func (v *device) isExact() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.exact
}

func (v *device) isSlow() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.slow
}

// state is what a device with another contact takes over from v.
func (v *device) state() (owedFrom int64, exact bool, settled int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return earlier(v.gone, v.again), v.exact, v.settled
}

func (v *device) owed() bool { return v.owedFrom() != 0 }

// owedFrom is when the first message was accepted that it is owed, in ms of Unix time; 0: none is.
func (v *device) owedFrom() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return earlier(v.gone, v.again)
}

// registered divides the devices that are registered at a time into those that get messages now and others. False: the
// user gets one copy for all devices.
func registered(list []*device, now time.Time) (live, others []*device, ok bool) {
	for _, v := range list {
		if v.expires.Load() <= now.UnixMilli() {
			continue
		}
		if v.row.Kamailio != "" && !v.kamailio.tells.Load() {
			return nil, nil, false
		}
		if yes, _, _ := v.takes(); yes {
			live = append(live, v)
		} else {
			others = append(others, v)
		}
	}
	return live, others, len(live)+len(others) > 0
}

// owed counts the registered devices of a user that are owed something.
func (u *userDevices) owed(userKey string, now time.Time) (n int) {
	for _, v := range u.of(userKey) {
		if v.expires.Load() > now.UnixMilli() && v.owed() {
			n++
		}
	}
	return n
}

// legID names the copy of a message for a device among copies under way.
func legID(callID, gruu string) string { return callID + " " + gruu }

// deviceText is what the store can keep of a text that came from a device.
func deviceText(s string) string {
	s = printable(s)
	if runes := []rune(s); len(runes) > store.MaxDevice {
		s = string(runes[:store.MaxDevice])
	}
	return s
}

// byUser yields the rows of each user; they stand together.
func byUser(rows []store.DeviceRow) func(yield func([]store.DeviceRow) bool) {
	return func(yield func([]store.DeviceRow) bool) {
		for len(rows) > 0 {
			key, n := rows[0].User.Key(), 1
			for n < len(rows) && rows[n].User.Key() == key {
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// deviceOf is the device that a request is from, by its Contact or From; empty: neither says so.
func deviceOf(r *sip.Request, from store.Name) string {
	if gr, ok := grOf(r.From().Address.UriParams); ok {
		return gruuOf(from.URI(), gr)
	}
	uri, params, _ := strings.Cut(headerOf(r, "Contact", "m"), ">")
	gr, ok := paramOf(uri, "gr")
	if !ok {
		gr, _ = paramOf(params, "+sip.instance")
		gr = strings.Trim(gr, "<>")
	}
	return gruuOf(from.URI(), gr)
}

// grOf is the instance in the parameters of a GRUU.
func grOf(params sip.HeaderParams) (gr string, ok bool) {
	for _, p := range params {
		if equalFold(p.K, "gr") {
			return p.V, true
		}
	}
	return "", false
}

// gruuOf is the public GRUU of a device, as a registrar makes it of the address of record and the instance (RFC 5627,
// 3.1); empty: it has no instance that may stand in a URI.
func gruuOf(uri, instance string) string {
	if instance == "" || len(instance) > maxInstance || !onlyOf(instance, alphanum+"-:.") {
		return ""
	}
	return uri + ";gr=" + instance
}

// maxInstance bounds the instance of a device, in bytes: a URN with a UUID has 45.
const maxInstance = 80

// millisOf is t in ms of Unix time; 0 if it is zero.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
