package sipmsg

import (
	"reflect"
	"testing"
)

func TestParseContacts(t *testing.T) {
	for value, want := range map[string][]Contact{
		"<sip:bob@192.0.2.1:5062>":                    {{URI: "sip:bob@192.0.2.1:5062", Expires: -1}},
		"sip:bob@192.0.2.1;expires=60":                {{URI: "sip:bob@192.0.2.1", Expires: 60}},
		`"a, \"b\" <c" <sip:b@h;transport=tcp>;q=0.5`: {{URI: "sip:b@h;transport=tcp", Expires: -1}},
		"*": {{URI: "*", Expires: -1}},
		"<sip:b@h>;Expires=0, <sip:b@g>;expires = 9": {{URI: "sip:b@h"}, {URI: "sip:b@g", Expires: 9}},
		"<sip:b@h;x=a,b>;expires=never":              {{URI: "sip:b@h;x=a,b", Expires: -1}},
		"<sip:b@h>;expires=99999999999":              {{URI: "sip:b@h", Expires: -1}},
		`<sip:x@y.invalid;transport=ws>;+sip.ice;reg-id=1;+sip.instance="<urn:uuid:0-1,2>";expires=600`: {
			{URI: "sip:x@y.invalid;transport=ws", Instance: "urn:uuid:0-1,2", Expires: 600}},
	} {
		got, err := ParseContacts(value)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
	}
	for _, value := range []string{"", " , ", "<sip:b@h", "<>;expires=5", ";x"} {
		if got, err := ParseContacts(value); err == nil {
			t.Errorf("%q: %+v", value, got)
		}
	}
	many := "<sip:a@h>"
	for range maxContacts {
		many += ",<sip:a@h>"
	}
	if _, err := ParseContacts(many); err == nil {
		t.Error("too many contacts are taken")
	}
}

func FuzzParseContacts(f *testing.F) {
	f.Add(`"x" <sip:b@h>;expires=1;+sip.instance="<urn:uuid:1>", sip:c@d`)
	f.Add(`*`)
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, value string) {
		list, err := ParseContacts(value)
		if err == nil && len(list) == 0 || len(list) > maxContacts {
			t.Errorf("%d contacts, %v", len(list), err)
		}
		for _, c := range list {
			if c.URI == "" || c.Expires < -1 {
				t.Errorf("%+v", c)
			}
		}
	})
}
