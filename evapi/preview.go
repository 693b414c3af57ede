package evapi

// Frame returns the payload of the frame that takes o to one recipient, as it
// goes to a Kamailio that was asked for neither next hop nor header secret: for
// tests and for looking at what is sent. To and callID must be fit to be sent.
func (o *Outgoing) Frame(to, callID string) []byte {
	return o.appendCopy(nil, to, callID, "", 0, &peer{})
}
