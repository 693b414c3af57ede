package sipmsg

import (
	"strings"
	"testing"
	"time"
)

const imdnHead = `<?xml version="1.0" encoding="UTF-8" standalone="no" ?>`

// linphoneIMDN is what liblinphone 5 writes: its own namespace is declared, too.
const linphoneIMDN = imdnHead + `
<imdn xmlns="urn:ietf:params:xml:ns:imdn" xmlns:linphoneimdn="http://www.linphone.org/xsds/imdn.xsd">
  <message-id>04a-1z141z4-12-3w5e11</message-id>
  <datetime>2026-11-28T14:40:00Z</datetime>
  <display-notification>
    <status>
      <displayed/>
    </status>
  </display-notification>
</imdn>
`

func TestParseIMDN(t *testing.T) {
	at := time.Date(2026, 11, 28, 14, 40, 0, 0, time.UTC)
	status := func(inner string) string {
		return "<imdn><message-id>x</message-id>" + inner + "</imdn>"
	}
	delivery := func(word string) string {
		return status("<delivery-notification><status>" + word + "</status></delivery-notification>")
	}
	tests := []struct {
		name, body string
		want       IMDN
	}{
		{"Linphone", linphoneIMDN, IMDN{MessageID: "04a-1z141z4-12-3w5e11", Status: IMDNDisplayed, DateTime: at}},
		{"RFC 5438", imdnHead + `<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>34jk324j</message-id>` +
			`<datetime>2026-11-28T09:40:00-05:00</datetime><recipient-uri>im:bob@example.com</recipient-uri>` +
			`<original-recipient-uri>im:bob@example.com</original-recipient-uri>` +
			`<delivery-notification><status><delivered/></status></delivery-notification></imdn>`,
			IMDN{MessageID: "34jk324j", Status: IMDNDelivered, DateTime: at, Recipient: "im:bob@example.com"}},
		{"prefix", `<i:imdn xmlns:i="urn:ietf:params:xml:ns:imdn"><i:message-id>x</i:message-id>` +
			`<i:delivery-notification><i:status><i:failed/></i:status></i:delivery-notification></i:imdn>`,
			IMDN{MessageID: "x", Status: IMDNFailed}},
		{"prefix that is not declared", `<i:imdn><i:message-id>x</i:message-id><i:a><i:status><i:displayed/></i:status>` +
			`</i:a></i:imdn>`,
			IMDN{MessageID: "x", Status: IMDNDisplayed}},
		{"error with a reason", delivery(`<error/><reason code="415">Unsupported &amp; odd</reason>`), IMDN{MessageID: "x",
			Status: IMDNFailed}},
		{"forbidden", delivery("<forbidden/>"), IMDN{MessageID: "x"}},
		{"processed", status("<processing-notification><status><processed/></status></processing-notification>"),
			IMDN{MessageID: "x"}},
		{"the first status counts", delivery("<delivered/><failed/>"), IMDN{MessageID: "x", Status: IMDNDelivered}},
		{"white space, comments, CDATA", "\n<!-- a --><imdn><message-id> <![CDATA[x]]>\n</message-id><a><status>\n<!-- " +
			"b --><delivered></delivered></status></a></imdn>\n",
			IMDN{MessageID: "x", Status: IMDNDelivered}},
		{"Latin-1 with ASCII in it", `<?xml version="1.0" encoding="ISO-8859-1"?>` + delivery("<delivered/>"),
			IMDN{MessageID: "x", Status: IMDNDelivered}},
		{"no time", status("<datetime>yesterday</datetime><a><status><delivered/></status></a>"), IMDN{MessageID: "x",
			Status: IMDNDelivered}},
		{"text of elements inside is not the id", "<imdn><message-id>x<b>y</b></message-id><a><status><delivered/></stat" +
			"us></a></imdn>",
			IMDN{}},
	}
	for _, test := range tests {
		got, err := ParseIMDN([]byte(test.body))
		if test.want.MessageID == "" {
			if err == nil {
				t.Errorf("%s: %+v", test.name, got)
			}
			continue
		}
		if err != nil || !got.DateTime.Equal(test.want.DateTime) {
			t.Errorf("%s: %v, error %v", test.name, got, err)
		}
		got.DateTime = test.want.DateTime
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestBadIMDN(t *testing.T) {
	good := "<imdn><message-id>x</message-id><a><status><delivered/></status></a></imdn>"
	if _, err := ParseIMDN([]byte(good)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"empty":              "",
		"white space":        " \r\n",
		"text":               "delivered",
		"another root":       "<isComposing><state>active</state></isComposing>",
		"not closed":         strings.TrimSuffix(good, "</imdn>"),
		"closed wrongly":     "<imdn><message-id>x</imdn></message-id>",
		"two roots":          good + good,
		"no message-id":      "<imdn><a><status><delivered/></status></a></imdn>",
		"empty message-id":   "<imdn><message-id/><a><status><delivered/></status></a></imdn>",
		"message-id in two":  "<imdn><message-id>x y</message-id><a><status><delivered/></status></a></imdn>",
		"line in message-id": "<imdn><message-id>x&#10;y</message-id><a><status><delivered/></status></a></imdn>",
		"long message-id": "<imdn><message-id>" + strings.Repeat("x", maxMessageID+1) +
			"</message-id><a><status><delivered/></status></a></imdn>",
		"no status":    "<imdn><message-id>x</message-id></imdn>",
		"empty status": "<imdn><message-id>x</message-id><a><status/></a></imdn>",
		"NUL":          strings.Replace(good, "x", "x\x00", 1),
		"no UTF-8":     strings.Replace(good, "x", "x\xff", 1),
		"UTF-16":       `<?xml version="1.0" encoding="UTF-16"?>` + good,
		"too long":     "<!--" + strings.Repeat(" ", maxXML) + "-->" + good,
		"too deep":     strings.Repeat("<imdn>", maxXMLDepth+1) + strings.Repeat("</imdn>", maxXMLDepth+1),
		"entities": `<!DOCTYPE imdn [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>` +
			"<imdn><message-id>&b;</message-id><a><status><delivered/></status></a></imdn>",
		"a file": `<!DOCTYPE imdn [<!ENTITY a SYSTEM "file:///etc/passwd">]>` +
			"<imdn><message-id>&a;</message-id><a><status><delivered/></status></a></imdn>",
	}
	for name, body := range tests {
		if got, err := ParseIMDN([]byte(body)); err == nil {
			t.Errorf("%s: %+v", name, got)
		} else if got != (IMDN{}) {
			t.Errorf("%s: an error and %+v", name, got)
		}
	}
}

func TestFormatIMDN(t *testing.T) {
	for _, n := range []IMDN{
		{MessageID: "<id@a&b>", Status: IMDNDelivered, DateTime: time.Date(2026, 11, 28, 15, 0, 1, 0, time.UTC),
			Recipient: "sip:chat-a@chat.test"},
		{MessageID: "x", Status: IMDNDisplayed},
		{MessageID: "x", Status: IMDNFailed},
	} {
		if got, err := ParseIMDN(FormatIMDN(n)); err != nil || got != n {
			t.Errorf("%+v came back as %+v, error %v", n, got, err)
		}
	}
	shown := string(FormatIMDN(IMDN{MessageID: "x", Status: IMDNDisplayed}))
	if !strings.Contains(shown, "<display-notification><status><displayed/></status></display-notification>") ||
		strings.Index(shown, "<message-id>") > strings.Index(shown, "<datetime>") {
		t.Errorf("a receipt is\n%s", shown)
	}
}

func FuzzIMDN(f *testing.F) {
	f.Add([]byte(linphoneIMDN))
	f.Add([]byte("<imdn><message-id>x</message-id><a><status><delivered/></status></a></imdn>"))
	f.Add([]byte("<!DOCTYPE imdn [<!ENTITY a \"b\">]><imdn>&a;</imdn>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := ParseIMDN(body)
		if err != nil {
			return
		}
		if !isMessageID(n.MessageID) {
			t.Fatalf("message-id %q", n.MessageID)
		}
		if n.Status == IMDNOther {
			return
		}
		n.DateTime, n.Recipient = time.Time{}, ""
		if again, err := ParseIMDN(FormatIMDN(n)); err != nil || again != n {
			t.Fatalf("%+v came back as %+v, error %v", n, again, err)
		}
	})
}
