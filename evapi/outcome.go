package evapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Outcome is Kamailio's report on one copy, or on one batch, in a pong.
type Outcome struct {
	CallID     string        // empty: Batch is set
	Code       int           // final reply; 0: Kamailio could not send the copy
	RetryAfter time.Duration // of a reply; 0 if absent
	Devices    int           // to how many devices the copy went; 1 or more
	Device     string        // Copy.Device; empty: it had none

	Batch uint32 // id of an imc.batch that is carried out
}

// errOutcome says that the outcomes of a pong are not as agreed.
var errOutcome = errors.New("malformed outcome")

// parseOutcomes reads the outcomes of a pong: pairs of words, see the package doc.
func parseOutcomes(s string) ([]Outcome, error) {
	if s == "" {
		return nil, nil
	}
	all := make([]Outcome, 0, 1+strings.Count(s, " ")/2)
	for s != "" {
		var key, value string
		key, s, _ = strings.Cut(s, " ")
		value, s, _ = strings.Cut(s, " ")
		o, err := parseOutcome(key, value)
		if err != nil {
			return nil, fmt.Errorf("%w %.100q: %w", errOutcome, key+" "+value, err)
		}
		all = append(all, o)
	}
	return all, nil
}

func parseOutcome(key, value string) (Outcome, error) {
	if key == "=" {
		id, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return Outcome{}, fmt.Errorf("batch: %w", err)
		}
		return Outcome{Batch: uint32(id)}, nil
	}
	var buf [192]byte
	if key == "" || base64.StdEncoding.DecodedLen(len(key)) > len(buf) {
		return Outcome{}, errors.New("no Call-ID, or one that is too long")
	}
	n, err := base64.StdEncoding.Strict().Decode(buf[:], []byte(key))
	if err != nil {
		return Outcome{}, fmt.Errorf("Call-ID: %w", err)
	}
	o := Outcome{CallID: string(buf[:n]), Devices: 1}
	if value == "f" {
		return o, nil
	}
	value, retry, _ := strings.Cut(value, "/")
	value, devices, forked := strings.Cut(value, "*")
	if o.Code, err = strconv.Atoi(value); err != nil || o.Code < 100 || o.Code > 699 {
		return Outcome{}, fmt.Errorf("%.16q is no SIP status", value)
	}
	if forked {
		devices, o.Device, _ = strings.Cut(devices, "@")
		if o.Devices, err = strconv.Atoi(devices); err != nil || o.Devices < 1 {
			return Outcome{}, fmt.Errorf("%.16q is no number of devices", devices)
		}
	}
	if retry != "" {
		text, err := base64.StdEncoding.DecodeString(retry)
		if err != nil {
			return Outcome{}, fmt.Errorf("Retry-After: %w", err)
		}
		o.RetryAfter = retryAfter(string(text))
	}
	return o, nil
}

// result is the Result of a copy that went to one device.
func (o *Outcome) result() Result {
	if o.Code == 0 {
		return Result{CallID: o.CallID, Device: o.Device, Code: 500, Local: true, Reason: "Kamailio could not send it"}
	}
	return Result{CallID: o.CallID, Device: o.Device, Code: o.Code, RetryAfter: o.RetryAfter}
}

// maxRetryAfter keeps a wild Retry-After header from overflowing a Duration.
const maxRetryAfter = 365 * 24 * time.Hour

// retryAfter reads the leading number of a Retry-After header, in seconds; a comment and
// parameters may follow. Anything else counts as absent, since it comes from some SIP device.
func retryAfter(v string) time.Duration {
	v = strings.TrimLeft(v, " \t")
	end := 0
	for end < len(v) && v[end] >= '0' && v[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(v[:end], 10, 64)
	if err != nil && end == 0 {
		return 0
	}
	if err != nil || n > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter
	}
	return time.Duration(n) * time.Second
}
