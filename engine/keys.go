package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// A room may have a key (#set key), without which nobody joins who is not invited or added. It is kept as a hash that
// takes long to make, so that who reads the database does not have it. A goroutine of its own makes and compares
// hashes: no shard waits for that. Requests wait meanwhile, and are evaluated again.

const (
	// maxKey bounds a key, in bytes: bcrypt looks at no more.
	maxKey = 72
	// keysQueue bounds the hashes that wait to be made.
	keysQueue = 32
)

// wrongKeys, which is never changed, bounds the wrong keys of one user.
var wrongKeys = Rate{Count: 5, Per: time.Minute}

// keys makes and compares hashes, one after the other.
type keys struct{ queue chan func() }

func newKeys() *keys { return &keys{queue: make(chan func(), keysQueue)} }

// put reports false if too much waits already.
func (k *keys) put(do func()) bool {
	select {
	case k.queue <- do:
		return true
	default:
		return false
	}
}

func (k *keys) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-k.queue:
			do()
		}
	}
}

// proofOf recognises the right key of a hash in memory, without the work.
func proofOf(hash, key string) [sha256.Size]byte { return sha256.Sum256([]byte(hash + "\n" + key)) }

// usesKeyFirst compares or makes the key of a request that needs that, and reports whether the request waits for it.
// It is evaluated again then.
func (c *call) usesKeyFirst() bool {
	req := c.req
	if req.cmd == nil || req.proof != nil || c.room == nil {
		return false
	}
	c.me = c.room.get(req.fromKey())
	switch {
	case req.cmd.is("join") && len(req.args) > 1 && c.needsKey():
		return c.compareKey(req.args[1])
	case req.cmd.is("set") && len(req.args) == 2 && equalFold(req.args[0], settingKeyName) && c.owns():
		return c.hashKey(req.args[1])
	}
	return false
}

// needsKey reports whether the sender cannot join without the key of the room.
func (c *call) needsKey() bool {
	s := c.room.settings
	return s != nil && s.key != "" && c.room.get(c.req.fromKey()) == nil && !c.serviceAdmin() && c.req.order == nil
}

func (c *call) compareKey(key string) bool {
	s, req, r := c.shard, c.req, c.room
	hash := r.settings.key
	if proofOf(hash, key) == r.keyProof {
		req.proof = &keyProof{hash, true}
		return false
	}
	var refused *refusal
	s.engine.senders.with(req.fromKey(), s.now, func(m *senderMeters) {
		refused = s.engine.overRate(limitKeys, &m.keys, wrongKeys, s.now)
	})
	if refused != nil {
		s.refuse(req, r, refused)
		return true
	}
	return c.work(func() keyProof {
		return keyProof{hash, bcrypt.CompareHashAndPassword([]byte(hash), []byte(key)) == nil}
	}, func(p keyProof) {
		if p.right {
			r.keyProof = proofOf(hash, key)
			s.engine.senders.with(req.fromKey(), s.now, func(m *senderMeters) { m.keys = meter{} })
		}
	})
}

func (c *call) hashKey(key string) bool {
	was, cost := "", c.shard.engine.cfg.KeyCost
	if c.room.settings != nil {
		was = c.room.settings.key
	}
	if equalFold(key, wordOff) || equalFold(key, wordDefault) || checkKey(key) != nil {
		return false // set says so
	}
	return c.work(func() keyProof {
		if was != "" && bcrypt.CompareHashAndPassword([]byte(was), []byte(key)) == nil {
			return keyProof{was, true} // the room has it already
		}
		hash, err := bcrypt.GenerateFromPassword([]byte(key), cost)
		return keyProof{string(hash), err == nil}
	}, func(keyProof) {})
}

// work lets a goroutine of its own do what takes long; then the request is evaluated again.
func (c *call) work(do func() keyProof, done func(keyProof)) bool {
	s, req := c.shard, c.req
	again := func(p keyProof) {
		if done(p); !s.engine.ownership.has(req.roomHash()) {
			s.refuse(req, nil, refuseUnavailable("Another imcd has this room"))
			return
		}
		req.proof = &p
		s.evaluate(req)
	}
	if !s.engine.keys.put(func() {
		p := do()
		s.inbox.post(func() { again(p) })
	}) {
		s.refuse(req, c.room, refuseOverloaded())
	}
	return true
}

func checkKey(key string) error {
	switch {
	case equalFold(key, wordOn):
		return errors.New("give the word that is to be the key")
	case len(key) > maxKey:
		return errors.New("a key has at most 72 bytes")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || invisible(r) }):
		return errors.New("a key is one word")
	}
	return nil
}

// checkKey refuses a sender who cannot join without the key of the room, and has not given it.
func (c *call) checkKey() *refusal {
	switch p := c.req.proof; {
	case c.req.cmd.is("join") && len(c.req.args) > 1 && (c.room.settings == nil || c.room.settings.key == ""):
		return refuseArguments("The room has no key")
	case !c.needsKey():
		return nil
	case p == nil:
		return forbid("The room has a key", "need_key")
	case !p.right || p.hash != c.room.settings.key:
		return forbid("Wrong key", "wrong_key")
	}
	return nil
}

// settingKeyName is the setting that is never shown.
const settingKeyName = "key"

// fillKey takes a hash. One that is none lets nobody in.
func fillKey(s *settings, hash string) error {
	s.key = hash
	_, err := bcrypt.Cost([]byte(hash))
	return err
}
