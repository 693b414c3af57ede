package evapi

import (
	"encoding/json"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"imcd/evapi/sipmsg"
)

// Registration is imc.registered: a REGISTER request that Kamailio has carried out.
type Registration struct {
	Conn *Conn  // to the Kamailio; nil from DecodeEvent
	AOR  string // of the user: a SIP URI, not checked
	// Devices are the contacts that it was about. Empty: an older imc.cfg does not tell, or nothing was
	// registered.
	Devices []Device
	Agent   string // User-Agent of the request, any bytes; may be empty
	Source  string // transport, address and port that the request came from, as in udp:192.0.2.1:5060
	From    int64  // Wanted.From, if it was asked for
}

// Device is a contact as a REGISTER request has it, and as the registrar keeps it.
type Device struct {
	Contact  string // URI, any bytes; "*": all contacts of the user
	Instance string // +sip.instance, any bytes; empty: it has none
	Specs    string // +org.linphone.specs, any bytes; empty: it has none
	// GRUU is the user part of a temporary GRUU (RFC 5627): a request to it, with the domain of the user and
	// the parameter "gr", reaches this contact alone. Empty: it is not known.
	GRUU string
	// Was is the GRUU of an earlier contact that the device has left behind: it has the same Call-ID. Empty: there is
	// none.
	Was string
	// CallID is a hash of the Call-ID of its registrations, by which a device without an instance is known. Empty: it is
	// not known, or another contact of the user may have the same name without being the same device.
	CallID string
	// Left is how long it stays registered, 0 if it was removed.
	Left time.Duration

	// Of a contact that was asked for (Conn.Contacts): how long ago it registered, and Agent and Source as Registration
	// has them. Source may be empty.
	Since         time.Duration
	Agent, Source string
}

// Removed reports whether the request has removed contacts, and added none.
func (r *Registration) Removed() bool {
	for i := range r.Devices {
		if r.Devices[i].Left > 0 {
			return false
		}
	}
	return len(r.Devices) > 0
}

// groupSpecs is the capability of clients that know rooms as group chats, up to its version (+org.linphone.specs).
const groupSpecs = "groupchat/"

// Native reports whether the device is registered and knows rooms as group chats: it has an instance by which its
// public GRUU is known (RFC 5627).
func (d *Device) Native() bool {
	return d.Left > 0 && d.Instance != "" && strings.Contains(d.Specs, groupSpecs)
}

// Of names the user of a registration to other engines: the address of record, with the GRUU's parameter if a native
// device has registered. An engine that knows of no such devices ignores the parameter.
func (r *Registration) Of() string {
	for i := range r.Devices {
		if d := &r.Devices[i]; d.Native() && isGRUU(strings.ReplaceAll(d.Instance, ":", "")) {
			return r.AOR + ";gr=" + d.Instance
		}
	}
	return r.AOR
}

const (
	// defaultLeft is what a registrar usually grants to a contact that does not say how long it wants to stay.
	defaultLeft = time.Hour
	// maxLeft bounds what a contact says.
	maxLeft = 30 * 24 * time.Hour
	// savedRemoved is what Kamailio's save() returns when it has removed contacts.
	savedRemoved = 3
)

func decodeRegistration(params json.RawMessage) (Event, error) {
	var p struct {
		AOR     *b64
		Saved   int // what save() returned; 0: an older imc.cfg; below 0: an error
		Contact b64
		Expires b64
		Agent   b64
		Proto   string
		SrcIP   string `json:"src_ip"`
		SrcPort uint16 `json:"src_port"`
		RUID    string
		Was     string // RUID of an earlier contact
		Call    string // hash of the Call-ID of a device without an instance
		Stays   string // another contact of a device that has removed one, as in imc.located
		Hash    string
		Left    int64 // s
	}
	if err := json.Unmarshal(params, &p); err != nil || p.AOR == nil {
		return nil, badParams(err)
	}
	r := Registration{AOR: string(*p.AOR), Agent: string(p.Agent)}
	r.Source = SourceOf(p.Proto, p.SrcIP, int(p.SrcPort))
	if p.Saved < 0 || len(p.Contact) == 0 {
		return r, nil
	}
	contacts, err := sipmsg.ParseContacts(string(p.Contact))
	if err != nil {
		return r, nil // imc.cfg passes on the beginning of a long one
	}
	header := -1
	if n, err := strconv.ParseUint(strings.TrimSpace(string(p.Expires)), 10, 31); err == nil {
		header = int(n)
	}
	for _, c := range contacts {
		d := Device{Contact: c.URI, Instance: c.Instance, Specs: c.Specs, Left: left(c.Expires, header)}
		if p.Saved == savedRemoved && len(contacts) == 1 || c.URI == "*" {
			d.Left = 0
		}
		r.Devices = append(r.Devices, d)
	}
	if r.replaces(p.Stays, p.Hash, p.Call) || p.RUID != "" {
		r.dropRemoved(p.Call)
	}
	d := r.registered()
	if d == nil && len(r.Devices) == 1 {
		d = &r.Devices[0]
	}
	if d != nil && d.Instance == "" {
		d.CallID = p.Call
	}
	if d != nil && d.Left > 0 && d.GRUU == "" {
		d.GRUU, d.Was = gruu(p.RUID, p.Hash), gruu(p.Was, p.Hash)
		if p.Left > 0 {
			d.Left = left(int(min(p.Left, int64(maxLeft/time.Second))), -1)
		}
	}
	return r, nil
}

// replaces adds the contact that the location table has of a device which has removed one; words are as in imc.located,
// and call is Device.CallID. False: there is none.
func (r *Registration) replaces(words, hash, call string) bool {
	list := strings.Split(words, " ")
	if len(list) <= wordsPerContact || !r.Removed() {
		return false
	}
	d, err := decodeContact(list[:wordsPerContact], hash)
	i := slices.IndexFunc(r.Devices, func(o Device) bool { return o.Instance == d.Instance })
	if err != nil || i < 0 || d.Instance+call == "" || d.Left == 0 {
		return false
	}
	r.Agent, r.Source = d.Agent, d.Source
	d.Specs, d.Agent, d.Source, d.Since = r.Devices[i].Specs, "", "", 0
	r.Devices = append(r.Devices, d)
	return true
}

// dropRemoved leaves out the contacts that devices have removed which are registered by others.
func (r *Registration) dropRemoved(call string) {
	stay := make(map[string]bool)
	for i := range r.Devices {
		if d := &r.Devices[i]; d.Left > 0 && d.Instance+call != "" {
			stay[d.Instance] = true
		}
	}
	r.Devices = slices.DeleteFunc(r.Devices, func(d Device) bool { return d.Left == 0 && stay[d.Instance] })
}

// registered is the only contact that is registered; nil: there are none, or several.
func (r *Registration) registered() (one *Device) {
	for i := range r.Devices {
		if d := &r.Devices[i]; d.Left > 0 {
			if one != nil {
				return nil
			}
			one = d
		}
	}
	return one
}

// SourceOf writes where a request came from as Registration.Source; empty: ip is no IP address.
func SourceOf(proto, ip string, port int) string {
	addr, err := netip.ParseAddr(strings.Trim(ip, "[]"))
	if err != nil {
		return ""
	}
	return proto + ":" + netip.AddrPortFrom(addr, uint16(port)).String()
}

// left is how long a contact stays, by its parameter and the header Expires; -1: it does not say.
func left(param, header int) time.Duration {
	seconds := param
	if seconds < 0 {
		seconds = header
	}
	if seconds < 0 {
		return defaultLeft
	}
	return min(time.Duration(seconds)*time.Second, maxLeft)
}

// gruu is how Kamailio's lookup() reads a temporary GRUU: the contact's ruid, "-", and the hash of the address of
// record as hexadecimal digits, the last one first.
func gruu(ruid, hash string) string {
	n, err := strconv.ParseInt(hash, 10, 64)
	if err != nil || !isGRUU(ruid) {
		return ""
	}
	out := []byte(ruid + "-")
	h := uint32(n)
	for range max(1, (bits.Len32(h)+3)/4) {
		out = append(out, "0123456789abcdef"[h&15])
		h >>= 4
	}
	if !isGRUU(string(out)) {
		return ""
	}
	return string(out)
}

// maxGRUU bounds the user part of a temporary GRUU, in bytes.
const maxGRUU = 80

// isGRUU reports whether s may be one, or the ruid in it: it can stand in a URI.
func isGRUU(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>@:;,!\\?%", c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxGRUU
}
