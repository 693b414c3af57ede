package evapi

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestNativeDevice: a device that knows rooms as group chats, and how other engines hear of it.
func TestNativeDevice(t *testing.T) {
	t.Parallel()
	for contact, want := range map[string]string{
		`<sip:a@1>;+sip.instance="<urn:uuid:7>";+org.linphone.specs="ephemeral/1.1,groupchat/1.2"`: "sip:a@h;gr=urn:uuid:7",
		`<sip:a@1>;+sip.instance="<urn:uuid:7>";+org.linphone.specs="lime"`:                        "sip:a@h",
		`<sip:a@1>;+org.linphone.specs="groupchat/1.1"`:                                            "sip:a@h",
		`<sip:a@1>;+sip.instance="<a b>";+org.linphone.specs="groupchat/1.1"`:                      "sip:a@h",
		`<sip:a@1>;+sip.instance="<urn:uuid:7>";+org.linphone.specs="groupchat/1.1";expires=0`:     "sip:a@h",
	} {
		ev, err := DecodeEvent([]byte(event("imc.registered", `{"aor":"`+enc("sip:a@h")+`","saved":1,"contact":"`+
			enc(contact)+`"}`)))
		if err != nil {
			t.Fatal(err)
		}
		r := ev.(Registration)
		if got := r.Of(); got != want || r.Devices[0].Native() != (want != "sip:a@h") && !strings.Contains(contact, "a b") {
			t.Errorf("%s: %s", contact, got)
		}
	}
}

func TestDecodeRegistration(t *testing.T) {
	t.Parallel()
	const where = `"agent":"`
	from := func(saved, contact, expires, more string) string {
		return event("imc.registered", `{"aor":"`+enc("sip:al@h")+`","saved":`+saved+`,"contact":"`+enc(contact)+
			`","expires":"`+enc(expires)+`",`+where+enc("Phone/1")+`","proto":"tcp","src_ip":"192.0.2.1","src_port":5062`+
			more+`}`)
	}
	known := `,"ruid":"uloc-6b0c-1","hash":"7222211","left":59`
	one := func(d Device) []Device { return []Device{d} }
	minute := one(Device{Contact: "sip:al@a", Left: time.Minute})
	for name, c := range map[string]struct {
		in   string
		want []Device
	}{
		"new": {from("1", `<sip:al@10.0.0.1>;+sip.instance="<urn:uuid:1>"`, "60", known),
			one(Device{Contact: "sip:al@10.0.0.1", Instance: "urn:uuid:1", GRUU: "uloc-6b0c-1-3c33e6",
				Left: 59 * time.Second})},
		"it had another contact": {from("1", "<sip:al@a>", "60", `,"was":"w-1"`+known),
			one(Device{Contact: "sip:al@a", GRUU: "uloc-6b0c-1-3c33e6", Was: "w-1-3c33e6", Left: 59 * time.Second})},
		"the registrar is another": {from("2", "<sip:al@a>", "60", ""), minute},
		"a parameter goes before": {from("2", "<sip:al@a>;expires=5", "60", ""),
			one(Device{Contact: "sip:al@a", Left: 5 * time.Second})},
		"it does not say": {from("1", "<sip:al@a>", "", ""), one(Device{Contact: "sip:al@a", Left: time.Hour})},
		"for ever": {from("1", "<sip:al@a>", "2147483647", ""),
			one(Device{Contact: "sip:al@a", Left: maxLeft})},
		"removed":                      {from("3", "<sip:al@a>", "60", ""), one(Device{Contact: "sip:al@a"})},
		"removed, save() says nothing": {from("0", "<sip:al@a>;expires=0", "60", ""), one(Device{Contact: "sip:al@a"})},
		"all":                          {from("3", "*", "0", ""), one(Device{Contact: "*"})},
		"two": {from("1", "<sip:al@a>,<sip:al@b>;expires=0", "60", known),
			[]Device{{Contact: "sip:al@a", Left: time.Minute}, {Contact: "sip:al@b"}}},
		"an error":      {from("-1", "<sip:al@a>", "60", ""), nil},
		"no contact":    {from("4", "", "60", ""), nil},
		"not a contact": {from("1", "<sip:al@a", "60", ""), nil},
		"not a ruid":    {from("1", "<sip:al@a>", "60", `,"ruid":"a@b","hash":"1"`), minute},
		"not a hash":    {from("1", "<sip:al@a>", "60", `,"ruid":"a","hash":"x"`), minute},
		"a signed hash": {from("1", "<sip:al@a>", "60", `,"ruid":"a","hash":"-2"`),
			one(Device{Contact: "sip:al@a", GRUU: "a-efffffff", Left: time.Minute})},
		"the hash is 16": {from("1", "<sip:al@a>", "60", `,"ruid":"a","hash":"16"`),
			one(Device{Contact: "sip:al@a", GRUU: "a-01", Left: time.Minute})},
	} {
		ev, err := DecodeEvent([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := Registration{AOR: "sip:al@h", Agent: "Phone/1", Source: "tcp:192.0.2.1:5062", Devices: c.want}
		if !reflect.DeepEqual(ev, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, ev, want)
		}
		r := ev.(Registration)
		if removed := len(c.want) > 0 && name != "two" && c.want[0].Left == 0; r.Removed() != removed {
			t.Errorf("%s: removed %v", name, r.Removed())
		}
	}
}
