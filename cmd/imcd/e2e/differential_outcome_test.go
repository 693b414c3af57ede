package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// heard counts messages by receiver and by the room they came from, both as
// user@host in lower case.
type heard map[[2]string]int

// outcome is what can be seen of a step on one side.
type outcome struct {
	ok     bool     // it was answered 2xx
	code   int      // SIP status, for the eye only
	heard  heard    //
	listed []string // entries of lists that arrived, sorted
}

func (o outcome) String() string {
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(o.heard), compareKeys) {
		parts = append(parts, fmt.Sprintf("%s<-%s:%d", k[0], k[1], o.heard[k]))
	}
	return fmt.Sprintf("ok=%v (%d) heard=%v listed=%v", o.ok, o.code, parts, o.listed)
}

func compareKeys(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) }

func (o outcome) equal(p outcome) bool {
	return o.ok == p.ok && maps.Equal(o.heard, p.heard) && slices.Equal(o.listed, p.listed)
}

// clone copies o deeply.
func (o outcome) clone() outcome {
	o.heard, o.listed = maps.Clone(o.heard), slices.Clone(o.listed)
	return o
}

// hear adds n messages that a receiver gets from a room; none are left out.
func (o *outcome) hear(receiver, room string, n int) {
	k := [2]string{receiver, room}
	if o.heard[k] += n; o.heard[k] == 0 {
		delete(o.heard, k)
	}
}

// merge adds what a further step showed, the class of its reply left out.
func (o *outcome) merge(p outcome) {
	for k, n := range p.heard {
		o.hear(k[0], k[1], n)
	}
	o.listed = append(o.listed, p.listed...)
	slices.Sort(o.listed)
}

// entry matches one line of the module's list of rooms or members, listHead what stands
// before imcd's.
var (
	entry    = regexp.MustCompile(`(?m)^[*~]?\[[^\]\n]+\]$`)
	listHead = regexp.MustCompile(`^\d+ (members?|rooms?)( \(\d+/\d+\))?: `)
)

// entries are those of a list in the module's form, without domains.
func entries(body string) []string {
	found := entry.FindAllString(body, -1)
	if head := listHead.FindString(body); head != "" {
		for _, item := range strings.Split(body[len(head):], ", ") {
			name, _, _ := strings.Cut(item, " (") // what is said of it in words
			mark := name[:len(name)-len(strings.TrimLeft(name, "*~"))]
			found = append(found, mark+"["+name[len(mark):]+"]")
		}
	}
	for i, e := range found {
		name, _, _ := strings.Cut(strings.ToLower(e), "@")
		found[i] = strings.TrimSuffix(name, "]") + "]"
	}
	return found
}

// key makes user@host in lower case of a URI or a name.
func key(uri string) string {
	uri = strings.ToLower(uri)
	for _, scheme := range []string{"sip:", "sips:"} {
		uri = strings.TrimPrefix(uri, scheme)
	}
	name, host, _ := strings.Cut(uri, "@")
	host, _, _ = strings.Cut(host, ";")
	host, _, _ = strings.Cut(host, ":")
	return name + "@" + host
}
