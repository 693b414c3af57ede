//go:build !linux

package evapi

// quickAck does nothing: there is no such option.
func quickAck(uintptr) {}
