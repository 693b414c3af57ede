package rpc

// Coded gives an error of the engine the code and words that a caller sees, for
// methods that stand elsewhere.
func Coded(err error) error {
	if err == nil {
		return nil
	}
	return coded(err)
}
