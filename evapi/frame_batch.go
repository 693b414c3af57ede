package evapi

import (
	"encoding/base64"
	"strconv"
)

const (
	// batchCopies bounds the recipients of one imc.batch: several workers of Kamailio are
	// to share a message to many, and a loop in a script stops after 100 rounds.
	batchCopies = 64
	// maxBatches bounds the batches that Kamailio has not carried out. They wait in a
	// socket between its processes: a full one would block evapi.
	maxBatches = 8
	// maxSingle bounds the copies of a window that wait behind no batch: Kamailio's process for evapi, which has the
	// answers to requests as well, sends them itself.
	maxSingle = 8
	// batchGroup is the number of recipients that stand together in a batch.
	batchGroup = 8
	// groupEnd and batchEnd stand in place of the next recipient or group: after the end
	// of a list a script would find an error instead of nothing.
	groupEnd = ".<"
	batchEnd = "." + paramsEnd
)

// inBatch returns the part of an imc.batch that all recipients of o share, or nil if o does
// not fit the fields of Kamailio's uac module and goes by another frame.
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

// fitsBatch reports whether o may go in an imc.batch, and the length of the shared part.
func (o *Outgoing) fitsBatch() (size int, fits bool) {
	enc := base64.StdEncoding.EncodedLen
	size = 4*len(paramSep) + enc(len(o.fromValue())) + enc(o.headers) + enc(o.body)
	return size, o.checkSendLimits() == nil &&
		batchSize(size, assumedPeer)+recipientSize(assumedURI, assumedCallID) <= maxPayload
}

// batchSize is the length of a batch without recipients, at most, as a netstring.
func batchSize(shared int, p *peer) int {
	return len(imcBatch) + idDigits + 2*len(paramSep) + len(featureDirect) + len(p.nextHop64) + shared +
		len(batchEnd) + netstringOverhead
}

// recipientSize is the number of bytes that one recipient adds.
func recipientSize(to, callID int) int { return to + callID + len("  ") + len(groupEnd) }

// appendBatch appends the payload of one imc.batch: entries are copies of one Outgoing. To
// and Call-ID have passed checkCopy, so there is no space, no < and nothing to escape in
// them.
func appendBatch(dst []byte, entries []entry, id uint32, p *peer) []byte {
	dst = append(dst, imcBatch...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	dst = append(dst, paramSep...)
	if p.direct {
		dst = append(dst, featureDirect...)
	} else {
		dst = append(dst, LaneBatch.String()...)
	}
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
