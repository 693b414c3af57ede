package engine

// Reason says in a few words what a final outcome of a copy means to an operator:
// the word that imcctl, the console and imc.room_info show beside the code. It is
// empty for 0 and for codes that no SIP response has. Codes below 700 are those of
// RFC 3261, RFC 3903, RFC 5626 and RFC 8197; 473 and 476 to 479 are Kamailio's own.
func Reason(code int) string {
	if word, ok := reasons()[code]; ok {
		return word
	}
	switch {
	case code >= 200 && code < 300:
		return "delivered"
	case code >= 300 && code < 400:
		return "redirected"
	case code >= 400 && code < 500:
		return "refused"
	case code >= 500 && code < 600:
		return "server error"
	case code >= 600 && code < 700:
		return "refused everywhere"
	}
	return ""
}

// reasons are the codes that need words of their own.
func reasons() map[int]string {
	return map[int]string{
		202: "accepted, to be delivered by another server",
		400: "bad request, says the phone",
		401: "password asked for",
		403: "forbidden",
		404: "not registered",
		405: "method not allowed",
		406: "not acceptable",
		407: "password asked for",
		408: "phone does not answer",
		410: "gone",
		413: "too large for the phone",
		415: "phone cannot read this content",
		416: "kind of address not supported",
		420: "extension not supported",
		423: "interval too brief",
		429: "referrer's identity asked for",
		430: "connection lost",
		439: "outbound not supported",
		440: "too many hops",
		473: "destination is blocked",
		476: "destination cannot be resolved",
		477: "connection lost",
		478: "destination cannot be resolved",
		479: "bad address",
		480: "not registered",
		481: "no such dialog",
		482: "loop",
		483: "too many hops",
		484: "address incomplete",
		485: "address ambiguous",
		486: "busy",
		487: "canceled",
		488: "phone cannot read this content",
		489: "event not supported",
		491: "busy for a moment",
		493: "phone cannot decrypt this",
		500: "server error",
		501: "method not supported",
		502: "bad gateway",
		503: "overloaded or out of service",
		504: "server does not answer",
		505: "SIP version not supported",
		513: "too large",
		580: "precondition failed",
		600: "busy everywhere",
		603: "declined",
		604: "does not exist anywhere",
		606: "phone cannot read this content",
		607: "unwanted",
		608: "rejected",
	}
}
