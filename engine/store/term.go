package store

import (
	"strconv"
	"time"
)

// MaxTerm bounds what ReadTerm reads.
const MaxTerm = 366 * 24 * time.Hour

// ReadTerm reads how long something lasts as people write it: 10m, 2h, 7d. It is false for anything else.
func ReadTerm(word string) (time.Duration, bool) {
	if len(word) < 2 {
		return 0, false
	}
	var unit time.Duration
	switch word[len(word)-1] | 0x20 {
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	case 'd':
		unit = 24 * time.Hour
	default:
		return 0, false
	}
	n, err := strconv.Atoi(word[:len(word)-1])
	if err != nil || n < 1 || n > int(MaxTerm/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// ShowTerm writes a time as ReadTerm reads it, in whole minutes.
func ShowTerm(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/time.Minute)) + "m"
}

// SettingKeep is the name of the setting of a room that says how long its messages are kept, beside
// Limits.Age: a term of ReadTerm, or SettingOff: as long as the other Limits allow.
const (
	SettingKeep = "keep"
	SettingOff  = "off"
)
