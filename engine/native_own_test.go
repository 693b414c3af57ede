package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// aliceDevices are alice's: two that know groups, and one that does not.
var aliceDevices = []evapi.Device{
	{Contact: "sip:alice@127.0.0.1:5001", Instance: "urn:uuid:alice", GRUU: "uloc-phone", Specs: nativeLinphone},
	{Contact: "sip:alice@127.0.0.1:5002", Instance: "urn:uuid:tablet", GRUU: "uloc-tablet", Specs: nativeLinphone},
	{Contact: "sip:alice@127.0.0.1:5003", GRUU: "uloc-desk", CallID: "desk"},
}

// nativeOwn is a house in which alice has three devices.
type nativeOwn struct {
	*house
	room string // without "sip:"
}

// registers registers alice's devices, as Kamailio reports it.
func (n *nativeOwn) registers() {
	for i, d := range aliceDevices {
		d.Left = time.Hour
		n.e.Devices(evapi.Registration{AOR: "sip:alice@x.org", Source: fmt.Sprint("udp:127.0.0.1:", 5001+i),
			Devices: []evapi.Device{d}})
	}
}

// locates lets the location table answer what an engine asks; specs is what Kamailio remembers of devices with an
// instance.
func locates(e *Engine, specs string) {
	e.AskContacts(func(users []evapi.Wanted) error {
		for _, w := range users {
			if w.User != "sip:alice@x.org" {
				continue
			}
			r := evapi.Registration{AOR: w.User, From: w.From}
			for i, d := range aliceDevices {
				if d.Left, d.Since, d.Specs = time.Hour, time.Minute, ""; d.Instance != "" {
					d.Specs = specs
				}
				d.Source = fmt.Sprint("udp:127.0.0.1:", 5001+i)
				r.Devices = append(r.Devices, d)
			}
			e.Found(r)
		}
		return nil
	})
}

// writes lets alice write on a device, and says what the others get: the form, and the content.
func (n *nativeOwn) writes(device int, body, contentType string) map[string]string {
	n.t.Helper()
	n.relay.take()
	from, instance := "alice", aliceDevices[device].Instance
	if instance != "" && contentType == sipmsg.CPIMType {
		from = "<sip:alice@x.org;gr=" + instance + ">"
	}
	m := n.request(from, n.room, body, "Content-Type: "+contentType+"\r\n")
	m.Proto, m.SrcIP, m.SrcPort = "udp", "127.0.0.1", 5001+device
	if from != "alice" {
		m.SrcPort = 6000 // it has a new connection, but says who it is
	}
	n.want(<-n.send(m), 200, 1)
	n.rests()
	got := make(map[string]string)
	for _, c := range n.relay.take() {
		if c.method != "MESSAGE" || !strings.HasPrefix(c.to, "sip:alice@") {
			continue
		}
		name := c.to
		if !strings.Contains(name, ";gr=") {
			name = c.device
		}
		if strings.Contains(c.body, "<message-id>") && (name != "uloc-desk" || device == 2) {
			continue // bob has it
		}
		if got[name] != "" {
			n.t.Errorf("%s gets it twice", name)
		}
		form := "plain "
		if strings.Contains(c.headers, sipmsg.CPIMType) && strings.Contains(c.headers, "Session-mode: true") {
			form = "native "
		}
		got[name] = form + c.body
	}
	return got
}

func (n *nativeOwn) rests() {
	pass(10 * time.Second)
}

// TestNativeOwnDevices: what alice writes comes once to each of her other devices, in the form that this one knows:
// also if they registered when she was in no room, or before imcd was started. One without groups gets no receipts of
// what was written on another.
func TestNativeOwnDevices(t *testing.T) {
	t.Parallel()
	cpim := func(content string) string {
		return "From: <" + gruuOfUser("alice") + ">\r\nTo: <sip:r@x.org>\r\nNS: imdn <urn:ietf:params:imdn>\r\n" +
			"imdn.Message-ID: hers\r\nimdn.Disposition-Notification: positive-delivery, display\r\n\r\n" + content
	}
	const file = `<?xml version="1.0"?><file xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp"><file-info type="file"/></file>`
	for name, start := range map[string]func(n *nativeOwn){
		"registered as a member": func(n *nativeOwn) { n.registers() },
		"registered before":      func(*nativeOwn) {},
		"registered before imcd": nil,
		"imcd is started again": func(n *nativeOwn) {
			n.close()
			n.house = newNativeHouse(t, n.store, nil)
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			specs := ""
			if start == nil {
				specs = "groupchat/"
			}
			kept.strict, kept.before = true, func(e *Engine) { locates(e, specs) }
			n := &nativeOwn{house: newNativeHouse(t, kept, nil)}
			defer func() { n.close() }()
			if start != nil {
				n.registers()
			}
			n.nativeFor("bob")
			n.rests()
			room := n.makes("alice", "Growers", "bob")
			n.room = strings.TrimPrefix(room, "sip:")
			n.rests()
			n.ask("SUBSCRIBE", "alice", room, "", "Event: conference\r\n")
			n.rests()
			if start != nil {
				start(n)
			}
			n.rests()
			for what, c := range map[string]struct{ body, contentType, content, plain string }{
				"a text":             {"hello", "text/plain", "hello", "[alice]: hello"},
				"a text of Linphone": {cpim("Content-Type: text/plain\r\n\r\nhello"), sipmsg.CPIMType, "hello", "[alice]: hello"},
				"a file of Linphone": {cpim("Content-Type: application/vnd.gsma.rcs-ft-http+xml\r\n\r\n" + file),
					sipmsg.CPIMType, file, file},
			} {
				for i, d := range aliceDevices {
					got := n.writes(i, c.body, c.contentType)
					for k, other := range aliceDevices {
						to, want := "sip:alice@x.org;gr="+other.Instance, "native "
						if other.Instance == "" {
							to, want = other.GRUU, "plain "
						}
						is := got[to]
						delete(got, to)
						switch {
						case k == i && is != "":
							t.Errorf("%s on %s comes back: %q", what, d.Contact, is)
						case k == i:
						case want == "plain " && is != want+c.plain:
							t.Errorf("%s on %s: %s gets %q", what, d.Contact, to, is)
						case want == "native " && (!strings.HasPrefix(is, want+"From: ") || !strings.HasSuffix(is, c.content) ||
							!strings.Contains(is, "From: <sip:alice@x.org>") ||
							strings.Contains(c.body, "hers") != strings.Contains(is, "imdn.Message-ID: hers\r\n")):
							t.Errorf("%s on %s: %s gets %q", what, d.Contact, to, is)
						}
					}
					if len(got) > 0 {
						t.Errorf("%s on %s: %q", what, d.Contact, got)
					}
				}
			}
		})
	}
}

// TestNativeReceiptsInOne: Linphone sends the receipts of several messages in one. Their author hears of each, and
// nobody gets it as a message.
func TestNativeReceiptsInOne(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	target, all := strings.TrimPrefix(room, "sip:"), ""
	for _, id := range []string{"one", "two"} {
		v.texts = nil
		h.want(<-h.post("alice", target, "From: <"+gruuOfUser("alice")+">\r\nTo: <"+room+">\r\n"+
			"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: "+id+"\r\nimdn.Disposition-Notification: display\r\n\r\n"+
			"Content-Type: text/plain\r\n\r\nhello", "Content-Type: message/cpim\r\n"), 200, 1)
		h.quiet()
		v.look()
		for _, text := range v.texts {
			if _, rest, ok := strings.Cut(text, "imdn.Message-ID: "); ok && strings.HasPrefix(text, gruuOfUser("bob")) {
				copyID, _, _ := strings.Cut(rest, "\r\n")
				all += "--b\r\nContent-Type: message/imdn+xml\r\n\r\n" + string(sipmsg.FormatIMDN(sipmsg.IMDN{
					MessageID: copyID, Status: sipmsg.IMDNDisplayed, DateTime: time.Now()})) + "\r\n"
			}
		}
	}
	v.texts = nil
	h.want(<-h.post("bob", target, "From: <"+gruuOfUser("bob")+">\r\nTo: <"+room+">\r\n\r\n"+
		"Content-Type: multipart/mixed;boundary=b\r\n\r\n"+all+"--b--\r\n", "Content-Type: message/cpim\r\n"), 200, 1)
	h.until("alice hears of both", func() bool {
		v.look()
		return len(v.texts) >= 2
	})
	h.quiet()
	v.look()
	for i, id := range []string{"one", "two"} {
		if text := v.texts[i]; len(v.texts) != 2 || !strings.HasPrefix(text, gruuOfUser("alice")) ||
			!strings.Contains(text, "<message-id>"+id+"</message-id>") {
			t.Errorf("%d copies: %s", len(v.texts), text)
		}
	}
}
