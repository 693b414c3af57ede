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
	const phone = `<sip:al@a>;+sip.instance="<urn:uuid:1>"`
	stays := func(instance string) string {
		return `,"hash":"7222211","stays":"u-1 5 59 ` + enc("sip:al@192.0.2.1:5062;transport=tcp") + " " +
			enc(instance) + " " + enc("Phone/1") + `  "`
	}
	flow := Device{Contact: "sip:al@192.0.2.1:5062;transport=tcp", Instance: "urn:uuid:1", GRUU: "u-1-3c33e6",
		Left: 59 * time.Second}
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
		"one of two flows is removed": {from("3", phone+";reg-id=2", "0", stays("<urn:uuid:1>")), one(flow)},
		"one of two contacts is removed, and was not there": {from("1", phone+";expires=0", "60", stays("<urn:uuid:1>")),
			one(flow)},
		"another device stays": {from("3", phone, "0", stays("<urn:uuid:2>")),
			one(Device{Contact: "sip:al@a", Instance: "urn:uuid:1"})},
		"the other one ends": {from("3", phone, "0", strings.Replace(stays("<urn:uuid:1>"), " 59 ", " 0 ", 1)),
			one(Device{Contact: "sip:al@a", Instance: "urn:uuid:1"})},
		"none stays": {from("3", "<sip:al@a>", "0", stays("")), one(Device{Contact: "sip:al@a"})},
		"it replaces one": {from("3", `<sip:al@b>;+sip.instance="<urn:uuid:1>",`+phone+";expires=0", "60", known),
			one(Device{Contact: "sip:al@b", Instance: "urn:uuid:1", GRUU: "uloc-6b0c-1-3c33e6", Left: 59 * time.Second})},
		"it replaces one, the other way round": {from("1", phone+`;expires=0,<sip:al@b>;+sip.instance="<urn:uuid:1>"`, "60",
			known+stays("<urn:uuid:1>")),
			one(Device{Contact: "sip:al@b", Instance: "urn:uuid:1", GRUU: "uloc-6b0c-1-3c33e6", Left: 59 * time.Second})},
		"it has no instance": {from("1", "<sip:al@a>", "60", `,"call":"5f2c"`),
			one(Device{Contact: "sip:al@a", CallID: "5f2c", Left: time.Minute})},
		"it is removed, without an instance": {from("3", "<sip:al@a>", "0", `,"call":"5f2c"`),
			one(Device{Contact: "sip:al@a", CallID: "5f2c"})},
		"it stays, without an instance": {from("3", "<sip:al@a>", "0", `,"call":"5f2c"`+stays("")),
			one(Device{Contact: flow.Contact, GRUU: flow.GRUU, CallID: "5f2c", Left: flow.Left})},
		"it replaces one, without an instance": {from("1", "<sip:al@b>,<sip:al@a>;expires=0", "60",
			`,"call":"5f2c"`+known),
			one(Device{Contact: "sip:al@b", CallID: "5f2c", GRUU: "uloc-6b0c-1-3c33e6", Left: 59 * time.Second})},
		"it is not in the table": {from("3", `<sip:al@b>;+sip.instance="<urn:uuid:1>",`+phone+";expires=0", "60", ""),
			[]Device{{Contact: "sip:al@b", Instance: "urn:uuid:1", Left: time.Minute},
				{Contact: "sip:al@a", Instance: "urn:uuid:1"}}},
		"its instance counts": {from("1", phone, "60", `,"call":"5f2c"`),
			one(Device{Contact: "sip:al@a", Instance: "urn:uuid:1", Left: time.Minute})},
		"two stay": {from("1", `<sip:al@a>,<sip:al@b>`, "60", `,"call":"5f2c"`+known),
			[]Device{{Contact: "sip:al@a", Left: time.Minute}, {Contact: "sip:al@b", Left: time.Minute}}},
		"removed, an older imc.cfg": {from("3", "<sip:al@a>", "60", known), one(Device{Contact: "sip:al@a"})},
		"the registrar is another":  {from("2", "<sip:al@a>", "60", ""), minute},
		"a parameter goes before": {from("2", "<sip:al@a>;expires=5", "60", ""),
			one(Device{Contact: "sip:al@a", Left: 5 * time.Second})},
		"it does not say": {from("1", "<sip:al@a>", "", ""), one(Device{Contact: "sip:al@a", Left: time.Hour})},
		"for ever": {from("1", "<sip:al@a>", "2147483647", ""),
			one(Device{Contact: "sip:al@a", Left: maxLeft})},
		"removed":                      {from("3", "<sip:al@a>", "60", ""), one(Device{Contact: "sip:al@a"})},
		"removed, save() says nothing": {from("0", "<sip:al@a>;expires=0", "60", ""), one(Device{Contact: "sip:al@a"})},
		"all":                          {from("3", "*", "0", ""), one(Device{Contact: "*"})},
		"two": {from("1", "<sip:al@a>,<sip:al@b>;expires=0", "60", known),
			[]Device{{Contact: "sip:al@a", GRUU: "uloc-6b0c-1-3c33e6", Left: 59 * time.Second}, {Contact: "sip:al@b"}}},
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
