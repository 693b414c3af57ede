package engine

import (
	"time"

	"imcd/evapi"
)

// A Kamailio that is restarted loses requests that are under way, the outcomes of others, and what devices send
// meanwhile. So a request without an answer is sent again a few times, and a device that may have left by a BYE that
// was lost is invited again.

// nativeAgain are the pauses before a request without an answer is sent again. After the last one the device is left
// alone until it registers, or a Kamailio is connected.
var nativeAgain = [...]time.Duration{2 * time.Second, 8 * time.Second, 32 * time.Second}

// maxNativeTries bounds the devices of a shard that wait for another try. Above it they are left alone.
const maxNativeTries = 4096

// nativeTries are devices that wait for another try.
type nativeTries struct {
	queues [len(nativeAgain)][]nativeTry // by their pause, so each is in the order of time
	n      int                           // in all
}

type nativeTry struct {
	device *groupDevice
	at     time.Time // groupDevice.again, unless that has changed since
}

// add lets a device wait; false: it was tried often enough, or too many wait.
func (q *nativeTries) add(d *groupDevice, now time.Time) bool {
	if d.tries == len(nativeAgain) || q.n >= maxNativeTries {
		return false
	}
	d.again = now.Add(nativeAgain[d.tries])
	q.queues[d.tries] = append(q.queues[d.tries], nativeTry{d, d.again})
	q.n++
	d.tries++
	return true
}

// due removes and returns the devices whose time has come.
func (q *nativeTries) due(now time.Time) (list []*groupDevice) {
	for i, tries := range q.queues {
		for ; len(tries) > 0 && !tries[0].at.After(now); tries = tries[1:] {
			if d := tries[0].device; d.again.Equal(tries[0].at) {
				d.again = time.Time{}
				list = append(list, d)
			}
			tries[0] = nativeTry{}
			q.n--
		}
		q.queues[i] = tries
	}
	return list
}

const (
	// listWithin is how long after its registration a device may send the list of its rooms.
	listWithin = 3 * time.Second
	// maxQuiet bounds the devices of a shard that are waited for. Above it a device is invited after its next
	// registration.
	maxQuiet = 4096
)

// quietDevices have registered, and may send the list of their rooms; oldest first.
type quietDevices []quietDevice

type quietDevice struct {
	user, gruu string
	at         time.Time // when the list is late
}

func (q *quietDevices) add(user, gruu string, now time.Time) {
	if len(*q) < maxQuiet {
		*q = append(*q, quietDevice{user, gruu, now.Add(listWithin)})
	}
}

// take removes and returns the first device whose list is late.
func (q *quietDevices) take(now time.Time) (d quietDevice, ok bool) {
	if len(*q) == 0 || (*q)[0].at.After(now) {
		return d, false
	}
	d, (*q)[0] = (*q)[0], quietDevice{}
	*q = (*q)[1:]
	return d, true
}

// unanswered reports whether a request got no answer, of the device or because Kamailio could not reach it (430 and
// 477): the next try may go well. A device that is not registered (404) is heard of when it is.
func unanswered(r *evapi.Result) bool {
	return r.Code == 408 || r.Code == 430 || r.Code == 477 || r.Code >= 500 && r.Code < 600
}
