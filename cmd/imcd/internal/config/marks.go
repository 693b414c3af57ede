package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// markBytes is the length of a mark: enough to tell a handful of values apart, too little to guess one.
const markBytes = 3

// marks are short sums of the settings that several imcd should have in common if they share rooms, by key. Those
// at their defaults have none.
func (r *raw) marks() map[string]string {
	plain := defaults()
	all := make(map[string]string)
	for _, k := range slices.Concat(moduleKeys(), roomKeys(), rateKeys(), deliveryKeys()) {
		text, usual := fmt.Sprint(k.get(r)), fmt.Sprint(k.get(plain))
		if k.name == "notices" { // which has no value to show
			text, usual = fmt.Sprint(r.Engine.Notices), fmt.Sprint(plain.Engine.Notices)
		}
		if k.secret != nil || text == usual || k.name == "hash_size" || k.name == "spare" || k.name == "db_mode" {
			continue
		}
		sum := sha256.Sum256([]byte(text))
		all[k.name] = hex.EncodeToString(sum[:markBytes])
	}
	return all
}
