package evapi

import (
	"encoding/base64"
	"strconv"
)

const (
	// batchCopies bounds the recipients of one imc.batch, so that several
	// workers of Kamailio share a message to many, and a script's loop, which
	// stops after 100 rounds, sees the end.
	batchCopies = 64
	// maxBatches bounds the batches that Kamailio has not carried out. They
	// wait in a socket between its processes: a full one would block evapi.
	maxBatches = 8
	// batchGroup is how many recipients stand together in it.
	batchGroup = 8
	// groupEnd and batchEnd stand where the next recipient or group would: past
	// the end of a list a script finds an error, not nothing.
	groupEnd = ".<"
	batchEnd = "." + paramsEnd
)

// inBatch returns what all recipients of o share in an imc.batch, or nil if o
// does not fit the fields of Kamailio's uac module and goes by another frame.
func (o *Outgoing) inBatch() []byte {
	if p := o.batch.Load(); p != nil {
		return *p
	}
	var shared []byte
	if size, fits := o.fitsBatch(); fits {
		enc := base64.StdEncoding
		shared = append(make([]byte, 0, size), paramSep...)
		shared = enc.AppendEncode(shared, []byte(o.fromValue()))
		shared = append(shared, paramSep...)
		shared = enc.AppendEncode(shared, o.headerLines())
		shared = append(shared, paramSep...)
		shared = enc.AppendEncode(shared, o.bodyBytes())
		shared = append(shared, paramSep...)
	}
	o.batch.Store(&shared)
	return shared
}

// fitsBatch reports whether o may go in an imc.batch, and the length of what its recipients
// share there.
func (o *Outgoing) fitsBatch() (size int, fits bool) {
	enc := base64.StdEncoding.EncodedLen
	size = 4*len(paramSep) + enc(len(o.fromValue())) + enc(o.headers) + enc(o.body)
	return size, o.checkSendLimits() == nil &&
		batchRoom(size, assumedPeer)+recipientRoom(assumedURI, assumedCallID) <= maxPayload
}

// batchRoom is the length of a batch without recipients, at most, as a netstring.
func batchRoom(shared int, p *peer) int {
	return len(imcBatch) + idDigits + 2*len(paramSep) + len("direct") + len(p.nextHop64) + shared +
		len(batchEnd) + netstringOverhead
}

// recipientRoom is what one recipient adds to it.
func recipientRoom(to, callID int) int { return to + callID + len("  ") + len(groupEnd) }

// appendBatch appends the payload of one imc.batch: entries are copies of one
// Outgoing. To and Call-ID have passed checkCopy, so there is no space, no < and
// nothing to escape in them.
func appendBatch(dst []byte, entries []entry, id uint32, p *peer) []byte {
	dst = append(dst, imcBatch...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	dst = append(dst, paramSep...)
	dst = append(dst, p.lane.String()...)
	dst = append(dst, paramSep...)
	dst = append(dst, p.nextHop64...)
	dst = append(dst, entries[0].out.inBatch()...)
	for i := range entries {
		dst = append(dst, entries[i].to...)
		dst = append(dst, ' ')
		dst = append(dst, entries[i].callID...)
		dst = append(dst, ' ')
		if i%batchGroup == batchGroup-1 || i == len(entries)-1 {
			dst = append(dst, groupEnd...)
		}
	}
	return append(dst, batchEnd...)
}
