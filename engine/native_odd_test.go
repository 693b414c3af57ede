package engine

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/native"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// subscribes lets a client ask for the state of a room. It asks again after a 503, which imcd gives while it is busy.
func (h *house) subscribes(user, room string) evapi.Answer {
	h.t.Helper()
	for range 60 {
		if a := h.ask("SUBSCRIBE", user, room, "", "Event: conference\r\n", "Expires: 600\r\n"); a.Code != 503 {
			return a
		}
		pass(time.Second)
	}
	return evapi.Answer{Code: 503}
}

// asked is the text of such a request.
func (h *house) asked(callID, method, user, uri, body string, headers ...string) string {
	h.store.mu.Lock()
	h.store.serial++
	n := h.store.serial
	h.store.mu.Unlock()
	callID = cmp.Or(callID, fmt.Sprint("call-", n))
	return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK%d\r\nFrom: <sip:%s@x.org>;tag=1\r\n"+
		"To: <%s>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nContact: <%s>;text\r\n%sContent-Length: %d\r\n\r\n%s", method, uri, n,
		user, uri, callID, method, gruuOfUser(user), strings.Join(headers, ""), len(body), body)
}

// read reads a request as it comes from Kamailio.
func (h *house) read(user, uri, raw string) *evapi.Message {
	h.t.Helper()
	msg, err := sipmsg.ParseRequest([]byte(raw))
	if err != nil {
		h.t.Fatalf("test request: %v\n%s", err, raw)
	}
	return &evapi.Message{Received: time.Now(), RURI: uri, Request: msg, AuthUser: user,
		Factory: uri == groupFactory}
}

// oddForms write a request in other words that the standard allows.
var oddForms = map[string]func(raw string) string{
	"as Linphone": func(raw string) string { return raw },
	"compact": func(raw string) string {
		return strings.NewReplacer("\r\nVia:", "\r\nv:", "\r\nFrom:", "\r\nf:", "\r\nTo:", "\r\nt:", "\r\nCall-ID:",
			"\r\ni:", "\r\nContact:", "\r\nm:", "\r\nContent-Type:", "\r\nc:", "\r\nContent-Encoding:", "\r\ne:",
			"\r\nContent-Length:", "\r\nl:", "\r\nSubject:", "\r\ns:", "\r\nRefer-To:", "\r\nr:", "\r\nEvent:",
			"\r\no:").Replace(raw)
	},
	"in capitals": func(raw string) string {
		return eachHeader(raw, func(name, value string) string { return strings.ToUpper(name) + ":" + value })
	},
	"with spaces": func(raw string) string {
		return eachHeader(raw, func(name, value string) string { return name + " \t:  " + value + " " })
	},
	"folded": func(raw string) string {
		return eachHeader(raw, func(name, value string) string { return name + ":\r\n\t" + value })
	},
	"lines that end in LF": func(raw string) string {
		return eachHeader(raw, func(name, value string) string { return name + ":" + value + "\x00" })
	},
	"GRUU in capitals": func(raw string) string { return strings.ReplaceAll(raw, ";gr=", ";GR=") },
}

// eachHeader writes the headers of a request in another way; one that ends in NUL ends in LF alone.
func eachHeader(raw string, f func(name, value string) string) string {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	for i, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		lines[1+i] = f(name, value)
	}
	return strings.ReplaceAll(strings.Join(lines, "\r\n")+"\r\n\r\n"+body, "\x00\r\n", "\n")
}

// TestNativeOddForms: requests of clients that write them in other words mean the same.
func TestNativeOddForms(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(listOf("bob")))
	_ = w.Close()
	bodies := map[string]string{"": listOf("bob"), "Deflate": string(native.Deflate([]byte(listOf("bob")))),
		"GZIP": zipped.String()}
	for form, write := range oddForms {
		for encoding, body := range bodies {
			if encoding != "" && form != "compact" {
				continue
			}
			synctest.Test(t, func(t *testing.T) { oddForm(t, form, encoding, body, write) })
		}
	}
}

func oddForm(t *testing.T, form, encoding, body string, write func(raw string) string) {
	h := newNativeHouse(t, newMemStore(), nil)
	v := newView(h)
	h.nativeFor("alice", "bob")
	headers := []string{"Subject: Growers\r\n", "Content-Type: application/resource-lists+xml\r\n"}
	if encoding != "" {
		headers = append(headers, "Content-Encoding: "+encoding+"\r\n")
	}
	room := ""
	for _, step := range []struct {
		method, body string
		code         int
		sees         string
		headers      []string
	}{
		{"INVITE", body, 200, "", headers},
		{"SUBSCRIBE", "", 200, "alice* bob", []string{"Event: Conference;id=1\r\n", "Expires: 600\r\n"}},
		{"REFER", "", 202, "alice* bob*", []string{`Refer-To: "Bob, B." <sip:bob@x.org> ; text ; Admin = "1"` + "\r\n"}},
		{"REFER", "", 202, "alice*", []string{"Refer-To: <sip:bob@x.org;METHOD=bye>;text\r\n"}},
		{"REFER", "", 202, "alice* bob", []string{"Refer-To: <sip:bob@X.ORG>;text\r\n"}},
	} {
		uri := cmp.Or(room, groupFactory)
		a := <-h.begin(h.read("alice", uri, write(h.asked("", step.method, "alice", uri, step.body, step.headers...))))
		if a.Code != step.code {
			t.Fatalf("%s %s: %s %q: answer %+v", form, encoding, step.method, step.headers, a)
		}
		room = cmp.Or(room, roomIn(a))
		v.passes(time.Second)
		if is := v.shows("alice", room); step.sees != "" && is != "Growers: "+step.sees {
			t.Fatalf("%s %s: %s %q: alice sees %q", form, encoding, step.method, step.headers, is)
		}
	}
}

// TestNativeBombs: documents that are small and unpack to much, or name too many, are refused, and nothing is made.
func TestNativeBombs(t *testing.T) {
	t.Parallel()
	h := newNativeHouse(t, newMemStore(), nil)
	h.nativeFor("alice")
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprint("u", i))
	}
	deflate := func(s string) string { return string(native.Deflate([]byte(s))) }
	for what, c := range map[string]struct{ body, encoding string }{
		"spaces":             {deflate("<resource-lists>" + strings.Repeat(" ", 4<<20) + "</resource-lists>"), "deflate"},
		"packed twice":       {deflate(deflate(strings.Repeat("<list>", 1<<20))), "deflate, deflate"},
		"packed too often":   {listOf("bob"), "deflate, deflate, deflate, deflate"},
		"an entity":          {`<!DOCTYPE r [<!ENTITY a "b">]>` + listOf("bob"), "identity"},
		"lists in lists":     {deflate(strings.Repeat("<resource-lists>", 5000)), "deflate"},
		"too many":           {deflate(listOf(many...)), "deflate"},
		"cut":                {deflate(listOf("bob"))[:40], "deflate"},
		"not known":          {listOf("bob"), "br"},
		"nothing":            {"", "deflate"},
		"no list, as it is":  {"\x00\xff", "identity"},
		"another root":       {"<list/>", "identity"},
		"an entry of no use": {listOf(""), "identity"},
	} {
		for _, event := range []string{"INVITE", "SUBSCRIBE"} {
			a := h.ask(event, "alice", groupFactory, c.body, "Event: conference\r\n", "Content-Encoding: "+c.encoding+"\r\n",
				"Content-Type: application/resource-lists+xml\r\n")
			if a.Code != 400 && what != "an entry of no use" {
				t.Errorf("%s of %s: answer %+v", event, what, a)
			}
		}
	}
}

// TestNativeOddTexts: what Linphone says reaches the others once, however it is written, and by a name of its own; what
// cannot be read is refused.
func TestNativeOddTexts(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	target, seen := strings.TrimPrefix(room, "sip:"), map[string]bool{}
	plain := cpimOf("alice", room, "hers", "", "hi")
	without := strings.Replace(plain, "imdn.Message-ID: hers\r\n", "", 1)
	deflate := func(s string) string { return string(native.Deflate([]byte(s))) }
	const packed = "Content-Encoding: deflate\r\n"
	for what, c := range map[string]struct {
		body, headers string
		code          int
		text          string // that bob gets
	}{
		"as Linphone":          {plain, "", 200, "hi"},
		"the same name again":  {plain, "", 200, "hi"},
		"lines end in LF":      {strings.ReplaceAll(plain, "\r\n", "\n"), "", 200, "hi"},
		"no name":              {without, "", 200, "hi"},
		"no name, LF":          {strings.ReplaceAll(without, "\r\n", "\n"), "", 200, "hi"},
		"an empty name":        {strings.Replace(plain, "hers", "", 1), "", 200, "hi"},
		"a name with a space":  {strings.Replace(plain, "hers", "h e", 1), "", 200, "hi"},
		"a name in Cyrillic":   {strings.Replace(plain, "hers", "её", 1), "", 200, "hi"},
		"a long name":          {strings.Replace(plain, "hers", strings.Repeat("h", 5000), 1), "", 200, "hi"},
		"the name of a copy":   {strings.Replace(plain, "hers", "000-1-1-abc", 1), "", 200, "hi"},
		"names in capitals":    {strings.Replace(plain, "imdn.Message-ID", "IMDN.MESSAGE-ID", 1), "", 200, "hi"},
		"another's name":       {cpimOf("bob", room, "hers", "", "hi"), "", 200, "hi"},
		"folded":               {strings.Replace(plain, ": hers", ":\r\n hers", 1), "", 200, "hi"},
		"no length":            {strings.Replace(plain, "Content-Length: 2\r\n", "", 1), "", 200, "hi"},
		"a longer length":      {strings.Replace(plain, "Length: 2", "Length: 99", 1), "", 200, "hi"},
		"packed":               {deflate(plain), packed, 200, "hi"},
		"packed, compact":      {deflate(plain), "e: DEFLATE\r\n", 200, "hi"},
		"a bomb":               {deflate(plain + strings.Repeat(" ", 4<<20)), packed, 413, ""},
		"a bomb in the head":   {deflate(strings.Repeat("a: b\r\n", 100000)), packed, 413, ""},
		"cut":                  {deflate(plain)[:20], packed, 400, ""},
		"no headers":           {"\r\n\r\n\r\n", "", 400, ""},
		"CPIM in CPIM in CPIM": {wrapped(wrapped(plain)), "", 400, ""},
	} {
		a := <-h.post("alice", target, c.body, "Content-Type: message/CPIM\r\n"+c.headers)
		if a.Code != c.code {
			t.Errorf("%s: answer %+v", what, a)
		}
		cpims, _ := v.cpims()
		got, id := cpims["bob"], cpimHeader(cpims["bob"], "imdn.Message-ID")
		if c.code != 200 {
			continue // bob may hear why alice's was refused: he does not
		}
		if !strings.HasPrefix(got, "From: <sip:alice@x.org>\r\n") || !strings.HasSuffix(got, "\r\n\r\n"+c.text) || id == "" ||
			seen[id] {
			t.Errorf("%s: bob got %q", what, got)
		}
		seen[id] = true
	}
}

func wrapped(cpim string) string {
	return "From: <sip:x@x.org>\r\n\r\nContent-Type: message/cpim\r\n\r\n" + cpim
}

// TestNativeOddReceipts: receipts for messages that are too old, or that their sender never got, are taken, and nobody
// hears of them.
func TestNativeOddReceipts(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "carol"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	v.sees("carol", room, "Growers", "alice*", "bob", "carol")
	target := strings.TrimPrefix(room, "sip:")
	var bobs, carols []string // names of the messages
	for i := range maxOpenReceipts + 2 {
		h.want(<-h.post("alice", target, cpimOf("alice", room, fmt.Sprint("hers-", i), "", fmt.Sprint("hi ", i)),
			"Content-Type: message/cpim\r\n"), 200, 1)
		h.quiet()
		v.texts = nil
		v.look()
		for _, text := range v.texts {
			if id := cpimHeader(text, "imdn.Message-ID"); strings.HasPrefix(text, gruuOfUser("bob")) {
				bobs = append(bobs, id)
			} else if strings.HasPrefix(text, gruuOfUser("carol")) {
				carols = append(carols, id)
			}
		}
	}
	if len(bobs) != maxOpenReceipts+2 || len(carols) != len(bobs) {
		t.Fatalf("bob got %d, carol %d", len(bobs), len(carols))
	}
	last := len(bobs) - 1
	for _, c := range []struct {
		what, id string
		passes   bool
	}{
		{"too old", bobs[0], false}, {"of another", carols[last], false}, {"of nobody", "x", false},
		{"of a message to come", strings.Replace(bobs[last], fmt.Sprint("-", last+1, "-"), fmt.Sprint("-", last+2, "-"), 1),
			false},
		{"empty", "", false}, {"the last", bobs[last], true}, {"once more", bobs[last], false},
	} {
		receipt := string(sipmsg.FormatIMDN(sipmsg.IMDN{MessageID: c.id, Status: sipmsg.IMDNDisplayed, DateTime: time.Now()}))
		a := <-h.post("bob", target, "From: <"+gruuOfUser("bob")+">\r\nTo: <"+room+">\r\n\r\n"+
			"Content-Type: message/imdn+xml\r\n\r\n"+receipt, "Content-Type: message/cpim\r\n")
		if a.Code != 200 {
			t.Errorf("%s: answer %+v", c.what, a)
		}
		h.quiet()
		v.texts = nil
		v.look()
		if (len(v.texts) > 0) != c.passes {
			t.Errorf("%s: %q", c.what, v.texts)
		}
	}
}

// TestNativeLongTexts: a text that is accepted reaches Linphone, where it is longer than elsewhere.
func TestNativeLongTexts(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	accepted, refused := 0, 0
	for n := 31000; n < 33000; n += 100 {
		text := strings.Repeat("x", n)
		a := <-h.post("carol", strings.TrimPrefix(room, "sip:"), text)
		cpims, _ := v.cpims()
		switch got := strings.HasSuffix(cpims["bob"], "\r\n\r\n"+text); {
		case a.Code == 200 && got && refused == 0:
			accepted++
		case a.Code == 413 && !got:
			refused++
		default:
			t.Fatalf("%d characters: answer %+v, bob has them: %v", n, a, got)
		}
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// TestNativeListEnds: a client that ends the subscription to the list of its rooms, or goes on with it, names no rooms
// by that: it is not invited into them.
func TestNativeListEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, to, expires string
		code, invites     int
	}{
		"ends":              {to: ";tag=2", expires: "0", code: 200},
		"ends with a list":  {to: ";tag=2", expires: "0", body: listOf(), code: 200},
		"goes on":           {to: ";tag=2", expires: "600", code: 200},
		"goes on by a list": {to: ";tag=2", expires: "600", body: listOf(), code: 200, invites: 1},
		"polls":             {expires: "0", body: listOf(), code: 200, invites: 1},
		"begins":            {expires: "600", code: 400},
	} {
		inBubble(t, name, func(t *testing.T) {
			h, v, _ := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
			v.passes(time.Second)
			raw := h.asked("", "SUBSCRIBE", "bob", groupFactory, c.body, "Event: conference\r\n",
				"Expires: "+c.expires+"\r\n", "Content-Type: application/resource-lists+xml\r\n")
			a := <-h.begin(h.read("bob", groupFactory, strings.Replace(raw, "To: <"+groupFactory+">",
				"To: <"+groupFactory+">"+c.to, 1)))
			ends := strings.Contains(a.Headers, "Expires: "+c.expires+"\r\n")
			if a.Code != c.code || ends != (c.code == 200) {
				t.Errorf("answer %+v", a)
			}
			if n := h.invited("bob", 10*time.Second); n != c.invites {
				t.Errorf("bob is invited %d times", n)
			}
		})
	}
}
