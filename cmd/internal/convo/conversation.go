package convo

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// DefaultDomain is where users and rooms are that name no domain.
const DefaultDomain = "chat.example"

// Conversation is a sequence of steps that begins without any room.
type Conversation struct {
	File  string
	Line  int
	Title string
	// Settings of imcd under which it holds, by key.
	Settings map[string]string
	Users    []User
	Steps    []Step
}

// Config is the same for conversations with the same settings.
func (c *Conversation) Config() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(c.Settings)) {
		b.WriteString(key + "=" + c.Settings[key] + "\n")
	}
	return b.String()
}

// User is somebody with a SIP user agent.
type User struct {
	Name    string // by which the text speaks of them; the user part of their address
	Domain  string
	Display string // display name; may be empty
	Away    bool   // not registered when the conversation begins
	TCP     bool   // speaks TCP, not UDP
}

// AOR is the user's address.
func (u *User) AOR() string { return "sip:" + u.Name + "@" + u.Domain }

// Kind is the kind of a Step.
type Kind uint8

// The kinds of steps.
const (
	Say        Kind = iota + 1 // User sends a MESSAGE
	Register                   // User registers
	Unregister                 // User is not registered any more
	Answer                     // User answers requests with Code from now on; 0 is silence
	Rooms                      // RPC: these Names are all rooms there are, in order
	Members                    // RPC: Room has the members Names, in order; none: there is no such room
	Restart                    // imcd is killed and started again
	Silence                    // nothing is said for Time; imcd is killed and started again meanwhile
	Note                       // nothing happens: Text is for whoever watches
)

// Step is one thing that happens.
type Step struct {
	Kind Kind
	Line int
	Text string // as it stands in the file
	User string
	Code int
	Room string   // SIP URI
	List []string // SIP URIs
	Time time.Duration

	Request Request
	Reply   Reply
	Expect  []Expect
	Ordered bool // Expect is in the order in which each user receives
	// Times is how often a Say is repeated, if more than once: {n} in bodies
	// and rooms of Expect is then 1, 2, …
	Times int
}

// Request is the MESSAGE of a Say; it goes to Step.Room.
type Request struct {
	From    string // the header's value; empty: the user's own
	Type    string // Content-Type; empty: text/plain; "none": without
	CallID  string // empty: a random one
	Headers []string
	Body    []byte
}

// Reply is the final response that a Say must get.
type Reply struct {
	Code   int
	RC     string // what the routing script sees; empty: not compared
	Reason string // part of the reason phrase
}

// Expect is a message that somebody must receive.
type Expect struct {
	Line    int
	User    string
	Room    string // From URI without parameters
	Display string // From display name, a Pattern
	Type    string // Content-Type; empty: text/plain
	Headers []string
	Body    Pattern
}
