package evapi

// entry is one thing in a queue: a copy, or the payload of a reply or answer.
type entry struct {
	out    *Outgoing // nil: payload is set
	to     string
	callID string
	dest   string // Copy.Dest
	device string // Copy.Device
	dialog *Dialog

	payload []byte
	first   bool // Copy.First
	answer  bool // payload is an imc.answer

	size int // of the netstring, at most
}

// copyKey names a copy, as its Result does.
type copyKey struct{ callID, device string }

func (e *entry) key() copyKey { return copyKey{e.callID, e.device} }

// result makes the Result of the copy.
func (k copyKey) result(r Result) Result {
	r.CallID, r.Device = k.callID, k.device
	return r
}

// queue is a circular buffer that grows as needed. It gives its memory back when it becomes
// empty.
type queue struct {
	buf  []entry // length is 0 or a power of two
	head int
	n    int
}

const (
	queueMin  = 16
	queueKeep = 4096 // entries whose memory an empty queue keeps
)

func (q *queue) push(e entry) {
	if q.n == len(q.buf) {
		bigger := make([]entry, max(queueMin, 2*len(q.buf)))
		k := copy(bigger, q.buf[q.head:])
		copy(bigger[k:], q.buf[:q.head])
		q.buf, q.head = bigger, 0
	}
	q.buf[(q.head+q.n)&(len(q.buf)-1)] = e
	q.n++
}

func (q *queue) peek() *entry { return &q.buf[q.head] }

func (q *queue) pop() entry {
	e := q.buf[q.head]
	q.buf[q.head] = entry{} // lets go of the Outgoing
	q.head = (q.head + 1) & (len(q.buf) - 1)
	q.n--
	if q.n == 0 && len(q.buf) > queueKeep {
		*q = queue{}
	}
	return e
}

// drain empties queues of copies and returns these.
func drain(queues ...*queue) (copies []copyKey) {
	for _, q := range queues {
		for q.n > 0 {
			e := q.pop()
			copies = append(copies, e.key())
		}
		*q = queue{}
	}
	return copies
}
