package sipmsg

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseComposing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     Composing
	}{
		{"active", composingActive, Composing{Active: true, ContentType: "text/plain", Refresh: time.Minute}},
		{"idle", `<isComposing><state>idle</state><lastactive>2026-11-28T12:00:00Z</lastactive></isComposing>`,
			Composing{LastActive: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}},
		{"prefix",
			`<c:isComposing xmlns:c="urn:ietf:params:xml:ns:im-iscomposing"><c:state> active </c:state><x xmlns="y"><state>` +
				`idle</state></x></c:isComposing>`,
			Composing{Active: true}},
		{"state of somebody else", `<isComposing><state>sleeping</state><refresh>-1</refresh></isComposing>`,
			Composing{}},
		{"latin 1",
			"<?xml version=\"1.0\" " +
				"encoding=\"ISO-8859-1\"?><isComposing><state>active</state><contenttype>\xfc</contenttype></isComposing>",
			Composing{Active: true, ContentType: "ü"}},
	} {
		if c, err := ParseComposing([]byte(tt.in)); err != nil || c != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, c, err)
		}
	}
	for name, in := range badXML("isComposing", "<state>active</state>") {
		if c, err := ParseComposing([]byte(in)); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// badXML are documents that must not be taken.
func badXML(root, inside string) map[string]string {
	bomb := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">`
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf(`<!ENTITY %c "%s">`, i, strings.Repeat(fmt.Sprintf("&%c;", i-1), 10))
	}
	return map[string]string{
		"empty":   "",
		"text":    "hello",
		"cut":     "<" + root + ">" + inside,
		"a DTD":   "<!DOCTYPE " + root + "><" + root + ">" + inside + "</" + root + ">",
		"unknown": "<other>" + inside + "</other>",
		"bomb":    bomb + "]><" + root + "><x>&j;</x>" + inside + "</" + root + ">",
		"deep": "<" + root + ">" + inside + strings.Repeat("<x>",
			maxXMLDepth) + strings.Repeat("</x>", maxXMLDepth) + "</" + root + ">",
		"many":          "<" + root + ">" + inside + strings.Repeat("<x/>", maxXMLTokens/2) + "</" + root + ">",
		"long":          "<" + root + ">" + inside + strings.Repeat(" ", maxXML) + "</" + root + ">",
		"crossed":       "<" + root + "><a><b></a></b>" + inside + "</" + root + ">",
		"odd charset":   `<?xml version="1.0" encoding="no-such"?><` + root + ">" + inside + "\x00</" + root + ">",
		"bad character": "<" + root + ">" + inside + "\x01</" + root + ">",
	}
}

func TestWalkXMLAtItsBounds(t *testing.T) {
	t.Parallel()
	fits := "<a>" + strings.Repeat("<x>", maxXMLDepth-1) + strings.Repeat("</x>", maxXMLDepth-1) + "</a>"
	if err := walkXML([]byte(fits), func([]string, string) error { return nil }); err != nil {
		t.Error(err)
	}
	long := "<a>" + strings.Repeat(" ", maxXML-7) + "</a>"
	if err := walkXML([]byte(long), func([]string, string) error { return nil }); err != nil {
		t.Error(err)
	}
}

func FuzzParseComposing(f *testing.F) {
	f.Add([]byte(composingActive))
	for _, in := range badXML("isComposing", "<state>active</state>") {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParseComposing(in)
		if err != nil {
			return
		}
		if len(c.ContentType) > 4*len(in) || c.Refresh < 0 {
			t.Fatalf("%+v", c)
		}
		c.LastActive = time.Time{}
		written := FormatComposing(c)
		if again, err := ParseComposing(written); len(written) < maxXML && (err != nil || again != c) {
			t.Fatalf("%+v becomes %+v, %v", c, again, err)
		}
	})
}
