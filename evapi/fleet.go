package evapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// featureFleet says that imc.cfg knows several engines.
const featureFleet = "fleet"

// featurePeers says that Kamailio passes requests on to other hosts.
const featurePeers = "peers"

const (
	// MaxShards bounds the shards of a fleet.
	MaxShards = 1024
	// shardsPerFrame keeps a list within the 99 rounds of a loop in the routing script.
	shardsPerFrame = 64
)

const (
	imcFleet  = `{"jsonrpc":"2.0","method":"imc.fleet","params":["`
	imcOwn    = `{"jsonrpc":"2.0","method":"imc.own","params":["`
	imcAt     = `{"jsonrpc":"2.0","method":"imc.at","params":["`
	imcPark   = `{"jsonrpc":"2.0","method":"imc.park","params":["`
	imcMove   = `{"jsonrpc":"2.0","method":"imc.move","params":["`
	imcDepose = `{"jsonrpc":"2.0","method":"imc.depose","params":["`
	listEnd   = "." + paramsEnd
)

// ErrAlone: Kamailio's imc.cfg knows one engine only, and gives it all requests; or
// Config.Engine is empty.
var ErrAlone = errors.New("evapi: imc.cfg at Kamailio knows one engine only")

// Shard is a shard with the number of its present ownership: each new owner counts one more.
type Shard struct {
	Shard int // 0 to MaxShards-1
	Epoch int // 0 to 1<<25
}

// maxEpoch is the largest that the routing script can keep beside a place.
const maxEpoch = 1 << 25

// checkEngine refuses a name that the routing script could not keep; empty is fine.
func checkEngine(name string) error {
	ok := len(name) <= 32
	for i := 0; i < len(name) && ok; i++ {
		c := name[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	if !ok {
		return fmt.Errorf("evapi: Engine: %.40q is not 1 to 32 letters and digits", name)
	}
	return nil
}

// Fleet tells Kamailio into how many shards rooms are divided: a power of two up to
// MaxShards. It comes before Own. Like the other methods of a fleet it never blocks but for
// Park, and counts for the present connection only: Handler.Up is where to repeat it. The
// errors are ErrDown, ErrFull and ErrAlone, and one for a wrong number.
func (c *Conn) Fleet(shards int) error {
	if shards < 1 || shards > MaxShards || shards&(shards-1) != 0 {
		return fmt.Errorf("evapi: %d shards: not a power of two up to %d", shards, MaxShards)
	}
	return c.box.putFleet(appendNumber([]byte(imcFleet), shards, paramsEnd))
}

// Own tells Kamailio that this engine owns shards now. Requests for their rooms come to this
// engine, those that wait at once. Kamailio ignores an ownership that is older than another engine's, and
// deposes an engine that loses a shard which it has not parked.
func (c *Conn) Own(shards []Shard) error {
	payloads, err := shardFrames(imcOwn, shards)
	if err != nil {
		return err
	}
	return c.box.putOwn(payloads...)
}

// At tells Kamailio that engines at another host own shards: requests for their rooms go to the Kamailio there, whose
// SIP URI is peer (its Welcome.Peer). Kamailio ignores what is older than what it knows, and its own URI. The error is
// ErrAlone, too, if Kamailio has no peers (IMC_PEERS).
func (c *Conn) At(peer string, shards []Shard) error {
	if !isPeer(peer) {
		return fmt.Errorf("evapi: %.100q is not the SIP URI of a peer", peer)
	}
	payloads, err := shardFrames(imcAt+peer+paramSep, shards)
	if err != nil {
		return err
	}
	return c.box.putPeers(payloads...)
}

// isPeer reports whether the routing script can keep a URI.
func isPeer(uri string) bool {
	ok := strings.HasPrefix(uri, "sip:") && len(uri) <= 255
	for i := 0; i < len(uri) && ok; i++ {
		ok = uri[i] > ' ' && uri[i] < 0x7f && uri[i] != '"' && uri[i] != '\\'
	}
	return ok
}

// shardFrames lists shards with their epochs in frames.
func shardFrames(begin string, shards []Shard) (payloads [][]byte, err error) {
	for part := range slices.Chunk(shards, shardsPerFrame) {
		payload := []byte(begin)
		for _, s := range part {
			if s.Shard < 0 || s.Shard >= MaxShards || s.Epoch < 0 || s.Epoch > maxEpoch {
				return nil, fmt.Errorf("evapi: shard %d with epoch %d", s.Shard, s.Epoch)
			}
			payload = appendNumber(payload, s.Shard, " ")
			payload = appendNumber(payload, s.Epoch, " ")
		}
		payloads = append(payloads, append(payload, listEnd...))
	}
	return payloads, nil
}

// Park lets requests for rooms of shards wait in Kamailio from now on. When it returns,
// Kamailio gives this engine no more of them; those that it has are still its own to answer.
// The error is that of ctx, or as of Fleet.
func (c *Conn) Park(ctx context.Context, shards []int) error {
	var payloads [][]byte
	for part := range slices.Chunk(shards, shardsPerFrame) {
		payload := []byte(imcPark)
		for _, s := range part {
			if s < 0 || s >= MaxShards {
				return fmt.Errorf("evapi: shard %d", s)
			}
			payload = appendNumber(payload, s, " ")
		}
		payloads = append(payloads, append(payload, listEnd...))
	}
	done, err := c.box.putBarrier(payloads...)
	if err != nil {
		return err
	}
	return outcome(ctx, "park", done)
}

// outcome waits for what came of a frame.
func outcome(ctx context.Context, what string, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("evapi: %s: %w", what, ctx.Err())
	}
}

// NoSlot is the slot of Move for a request of which this engine can say nothing now.
const NoSlot = -1

// Move hands a suspended request back: it is about a room of that slot, 0 to 1023. Kamailio
// gives it to the owner of the slot, or lets it wait for one. With NoSlot it waits until its
// shard has an owner: a Park comes before that, or it is back at once.
func (c *Conn) Move(tx TxID, slot int) error {
	if slot < NoSlot || slot > 1023 {
		return fmt.Errorf("evapi: slot %d", slot)
	}
	payload := appendNumber([]byte(imcMove), int(int32(tx.Index)), paramSep)
	payload = appendNumber(payload, int(int32(tx.Label)), paramSep)
	if slot >= 0 {
		payload = strconv.AppendInt(payload, int64(slot), 10)
	}
	return c.box.putFleet(append(payload, paramsEnd...))
}

// Depose tells Kamailio that another engine owns nothing any more, although it may still be
// connected: its answers and copies do not count from now on.
func (c *Conn) Depose(engine string) error {
	if engine == "" {
		return errors.New("evapi: depose: no engine")
	}
	if err := checkEngine(engine); err != nil {
		return err
	}
	return c.box.putFleet([]byte(imcDepose + engine + paramsEnd))
}

func appendNumber(dst []byte, n int, then string) []byte {
	return append(strconv.AppendInt(dst, int64(n), 10), then...)
}

// putFleet queues frames of a fleet, all or none.
func (b *outbox) putFleet(payloads ...[]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pushFleet(payloads)
}

// putPeers is putFleet for a Kamailio that has peers.
func (b *outbox) putPeers(payloads ...[]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peer != nil && !b.peer.peers {
		return ErrAlone
	}
	return b.pushFleet(payloads)
}

// putBarrier is putFleet, and done says when Kamailio has carried out the frames.
func (b *outbox) putBarrier(payloads ...[]byte) (done <-chan error, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.pushFleet(payloads); err != nil {
		return nil, err
	}
	return b.await(), nil
}

// await says when Kamailio has carried out all that was put before. It is called with mu held.
func (b *outbox) await() <-chan error {
	w := &barrier{after: b.put, done: make(chan error, 1)}
	if w.after <= b.confirmed { // there were no frames to wait for
		w.done <- nil
		return w.done
	}
	b.barriers = append(b.barriers, w)
	return w.done
}

// pushFleet is called with mu held.
func (b *outbox) pushFleet(payloads [][]byte) error {
	switch {
	case b.peer == nil:
		return ErrDown
	case !b.peer.fleet:
		return ErrAlone
	case b.replies.n+len(payloads) > b.limit:
		return ErrFull
	}
	for _, p := range payloads {
		if err := b.pushPayload(p, false); err != nil {
			return err
		}
	}
	return nil
}
