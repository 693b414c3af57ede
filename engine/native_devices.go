package engine

import (
	"slices"
	"strings"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// maxNativeDevices bounds those of a user; the oldest goes.
const maxNativeDevices = 10

func newNativeDevices(all *userDevices) *nativeDevices {
	return &nativeDevices{all: all, byUser: make(map[string][]nativeDevice)}
}

// of lists the devices of a user who has a native one; native is nil if there is none. plain are others, that have
// registered here.
func (n *nativeDevices) of(user string) (native, plain []string) {
	if !n.some.Load() {
		return nil, nil
	}
	n.mu.RLock()
	list := n.byUser[user]
	n.mu.RUnlock()
	if len(list) == 0 {
		return nil, nil
	}
	now := time.Now()
	for _, d := range list {
		switch {
		case !d.until.IsZero() && now.After(d.until):
		case d.plain:
			plain = append(plain, d.gruu)
		default:
			native = append(native, d.gruu)
		}
	}
	return native, plain
}

// behind is the native device of a user with a temporary GRUU; empty: there is none. That of one which has not
// registered since the start is not known here, but among all devices.
func (n *nativeDevices) behind(user, temp string) string {
	public := ""
	for _, v := range n.all.of(user) {
		if v.row.GRUU == temp {
			public = gruuOf(v.row.User.URI(), v.row.Device)
		}
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, d := range n.byUser[user] {
		if !d.plain && (d.temp == temp || d.gruu == public) {
			return d.gruu
		}
	}
	return ""
}

// has reports whether a user has a native device.
func (n *nativeDevices) has(user string) bool {
	native, _ := n.of(user)
	return len(native) > 0
}

// registered reports whether a native device of a user is registered, as far as is known.
func (n *nativeDevices) registered(user, gruu string) bool {
	native, _ := n.of(user)
	return slices.Contains(native, gruu)
}

// put notes a device, or that it is registered longer.
func (n *nativeDevices) put(user string, d nativeDevice) {
	n.change(user, func(list []nativeDevice) []nativeDevice {
		list = slices.DeleteFunc(list, func(o nativeDevice) bool { return o.gruu == d.gruu })
		if len(list) >= maxNativeDevices {
			list = list[1:]
		}
		return append(list, d)
	})
}

// learn notes a native device that the store, or a request, tells of.
func (n *nativeDevices) learn(user, gruu string) {
	n.change(user, func(list []nativeDevice) []nativeDevice {
		if slices.ContainsFunc(list, func(o nativeDevice) bool { return o.gruu == gruu }) ||
			len(list) >= maxNativeDevices {
			return list
		}
		return append(list, nativeDevice{gruu: gruu})
	})
}

// drop forgets a device.
func (n *nativeDevices) drop(user, gruu string) {
	n.change(user, func(list []nativeDevice) []nativeDevice {
		return slices.DeleteFunc(list, func(o nativeDevice) bool { return o.gruu == gruu })
	})
}

// change replaces the list of a user by what f makes of a copy.
func (n *nativeDevices) change(user string, f func([]nativeDevice) []nativeDevice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := f(slices.Clone(n.byUser[user]))
	if n.byUser[user] = list; len(list) == 0 {
		delete(n.byUser, user)
		return
	}
	n.some.Store(true)
}

// noteNative takes what a registration says of devices that know rooms as group chats.
func (e *Engine) noteNative(r *evapi.Registration) {
	name, err := ParseName(r.AOR, "")
	if err != nil || !e.served.Load().native {
		return
	}
	key := name.Key()
	for i := range r.Devices {
		e.noteNativeDevice(name.URI(), key, &r.Devices[i])
	}
}

// foundNatives takes the native devices that the location table has: those that have registered since the start, or
// have a room, are known.
func (e *Engine) foundNatives(name store.Name, devices []evapi.Device) {
	if !e.served.Load().native {
		return
	}
	key := name.Key()
	for i := range devices {
		if d := &devices[i]; d.Native() && !e.natives.registered(key, gruuOf(name.URI(), d.Instance)) {
			e.noteNativeDevice(name.URI(), key, d)
		}
	}
}

// comesBack lets groups know that a native device has registered; elsewhere if another engine heard of that, and of
// the list of rooms that the device has.
func (e *Engine) comesBack(user, gruu string, elsewhere bool) {
	for _, s := range e.shards {
		s.inbox.post(func() { s.groups.registered(user, gruu, elsewhere) })
	}
}

// nativeElsewhere notes a native device that has registered at another engine (evapi.Registration.Of).
func (e *Engine) nativeElsewhere(name store.Name, aor string) {
	_, params, _ := strings.Cut(aor, ";")
	instance, _ := paramOf(params, "gr")
	if gruu := gruuOf(name.URI(), instance); gruu != "" && e.served.Load().native {
		e.natives.learn(name.Key(), gruu)
		e.comesBack(name.Key(), gruu, true)
	}
}

func (e *Engine) noteNativeDevice(uri, key string, d *evapi.Device) {
	gruu, until := gruuOf(uri, d.Instance), time.Now().Add(d.Left)
	switch {
	case d.Left == 0:
		e.natives.drop(key, gruu)
	case gruu != "" && d.Native():
		e.natives.put(key, nativeDevice{gruu: gruu, temp: d.GRUU, until: until})
		e.comesBack(key, gruu, false)
	default:
		e.natives.drop(key, gruu) // it knows groups no more
		if d.GRUU != "" && e.natives.has(key) {
			e.natives.put(key, nativeDevice{gruu: d.GRUU, plain: true, until: until})
		}
	}
}
