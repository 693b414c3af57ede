// Package evapi talks to Kamailio's evapi module: netstring frames over TCP that carry
// JSON-RPC 2.0 in both directions. It reads SIP MESSAGE requests, answers suspended
// transactions and sends new MESSAGE requests; it knows nothing of chat rooms.
//
// # The wire
//
// Kamailio listens, imcd connects. Every frame is one netstring. The first frame of a client
// is the only one that is not JSON:
//
//	hello SECRET
//	hello SECRET ENGINE
//
// SECRET is 1 to 128 printable ASCII characters without space, quotes, backslash or comma.
// Kamailio knows two secrets, which give a connection its role: "engine" or "operator". Until
// its hello is right a client is a stranger: its frames are dropped, and it is sent nothing.
// ENGINE (1 to 32 letters and digits) is the name of an engine that knows that there may be
// others, see "Several engines". An engine without a name has all requests for itself; a later
// hello without a name takes its place over.
//
// # From imcd to Kamailio
//
// JSON-RPC 2.0, no white space, keys in exactly this order. Every parameter of the imc.*
// methods is a JSON string without quotes or backslashes in it (base64 where the value is not
// known to be plain): the routing script splits the frame at the quotes.
//
//	{"jsonrpc":"2.0","method":"imc.ping","params":["ID"]}
//	{"jsonrpc":"2.0","method":"imc.look","params":[""]}
//	{"jsonrpc":"2.0","method":"imc.reply","params":["TINDEX","TLABEL","CODE","RC","RETRY","B64 REASON","B64 HEADERS"]}
//	{"jsonrpc":"2.0","method":"tm.t_uac_start","params":["MESSAGE","RURI","NEXTHOP",".","HEADERS","BODY"],"id":ID}
//	{"jsonrpc":"2.0","method":"imc.send","params":["ID","B64 RURI","B64 NEXTHOP","B64 CALLID",
//	  "B64 FROM","B64 TO","B64 HEADERS","B64 BODY"]}
//	{"jsonrpc":"2.0","method":"imc.batch","params":["ID","LANE","B64 NEXTHOP",
//	  "B64 FROM","B64 HEADERS","B64 BODY","TO CALLID TO CALLID .<TO CALLID .<."]}
//	{"jsonrpc":"2.0","method":"imc.link","params":["PORT","B64 NEXTHOP","ADDRESS"]}
//	{"jsonrpc":"2.0","method":"imc.answer","params":["TAG","B64 JSON"]}
//	{"jsonrpc":"2.0","method":"imc.fleet","params":["SHARDS"]}
//	{"jsonrpc":"2.0","method":"imc.own","params":["SHARD EPOCH SHARD EPOCH ."]}
//	{"jsonrpc":"2.0","method":"imc.at","params":["SIP URI","SHARD EPOCH SHARD EPOCH ."]}
//	{"jsonrpc":"2.0","method":"imc.park","params":["SHARD SHARD ."]}
//	{"jsonrpc":"2.0","method":"imc.move","params":["TINDEX","TLABEL","SLOT"]}
//	{"jsonrpc":"2.0","method":"imc.depose","params":["ENGINE"]}
//	{"jsonrpc":"2.0","method":"imc.contacts","params":["FROM B64AOR FROM B64AOR ."]}
//	{"jsonrpc":"2.0","method":"imc.htable","params":["WHOLE","ID ROOM USER USER .<ID ROOM .<."]}
//
// (Lines are broken here alone.)
//
// imc.ping is answered with imc.pong once every frame before it has been executed.
//
// imc.look asks how many registrations Kamailio has accepted since its start, and whether any
// was reported by imc.registered. The answer is imc.registrations, in which "accepted" is no
// number where there is no registrar.
//
// imc.reply resumes the suspended transaction TINDEX:TLABEL (both signed 32 bit decimals) and
// answers it. The script finds RC in $avp(imc_rc); RETRY is Retry-After in seconds, "0" for
// none; HEADERS are further headers of the answer, each ended by CRLF, and left out if there
// are none.
//
// tm.t_uac_start is Kamailio's own RPC; it is answered (imc.error) only if it fails. HEADERS
// are From, To, Call-ID, X-IMC-Secret, Content-Type and others, each ended by CRLF; control
// characters are escaped, bytes from 0x80 on stand as they are, valid UTF-8 or not. It drops
// NULs from the body. In headers other than From, To and Call-ID it puts an address in place
// of "!!", cuts a header with one "!" short (with its line end), and crashes Kamailio over two
// that stand apart (seen on 5.6.3; the newest source is the same). So a copy with a NUL in its
// body or a "!" in such a header travels as imc.send, for uac_req_send: headers up to 2047
// bytes, all of them ended by CRLF, FROM and TO as they stand in the header.
//
// imc.batch takes one MESSAGE to at most 64 recipients, in groups of 8, by uac_req_send in a
// worker of Kamailio (Lane). Its pong says only that a worker will have it; an outcome reports
// that the batch is done, and no more than 8 may be open; 8 copies of each window that are answers, or go to small
// rooms, do not wait for that, as tm.t_uac_start. HEADERS have no X-IMC-Secret here:
// the script adds it for copies that come back to Kamailio.
//
// imc.answer goes on to the operator's connection TAG.
//
// imc.contacts asks which contacts users have, if "contacts" is among the features. Each user's come in an imc.located
// with FROM, a number; Kamailio leaves an answer out if there is too much to read, and counts it as "missed". "native"
// names the contacts that know rooms as group chats (IMC_NATIVE), if they have registered since Kamailio was started.
//
// imc.htable changes the table of rooms and members, if "htable" is among the features. ROOM and USER are name@domain
// in lower case. An ID of 0 removes the users, or, without users, the room; else both get it, and are in the table for
// 15 minutes. Rooms that the engine does not own are left out. WHOLE is 0 if the engine begins to give all its rooms, 1
// if they are there, with what has changed since: what is older does not count any more. Else it is empty.
//
// # Several engines
//
// Up to seven engines with a name share a Kamailio, if "fleet" is among its features. Each has
// a place, a queue of outcomes and a port for copies by SIP of its own. Rooms hash to 1024
// slots, and slots to shards (imc.fleet). imc.own says that this engine owns shards; each new
// owner has a higher epoch, and an older ownership than that of another engine does not count.
// Who loses a shard without having parked it was taken for dead: it is deposed, see below.
// Kamailio gives a request for a room to the owner of its shard. If nobody owns it, or if the owner has
// not pinged for a second, the request is parked: its transaction is suspended until there is
// an owner, or for 5 s.
//
// A connection that ends leaves its shards without an owner, and the other engines get
// imc.gone. imc.depose does the same to an engine that may still be connected. The requests
// that it has not answered go to the next owner, in the same transaction ("tries"): so an
// engine must recognise a request that another one may have carried out. An answer counts only
// from the engine that has the request.
//
// imc.park is the first step of giving shards away: no more requests come, and those that are
// there are still to be answered. imc.move hands a request back that is about a room of SLOT,
// which the script cannot read out of the URI; without SLOT it waits until the shard has an
// owner again.
//
// Kamailio knows no more than what it heard over the present connections, so an engine repeats
// imc.fleet and imc.own after each welcome. An engine that owns nothing yet is connected, too: it
// hears of those that are gone, and gets requests at the moment of its imc.own.
//
// With "peers" among its features, Kamailio has peers at other hosts (imc-peers.cfg). imc.at says
// which shards are owned by engines there: requests for these go to that Kamailio as SIP requests,
// and the answers come back. An imc.own of the same epoch counts more.
//
// # Copies by SIP
//
// The cheapest way for a copy (LaneSIP) is not by evapi: imcd sends it to Kamailio as a SIP
// request, over UDP on the same host, and keeps its transaction (sipLink): retransmissions,
// timeout, the response. imc.link reports the address and port of such requests. An event
// route that runs ahead of all routing looks at these alone, looks the recipient up and
// forwards the request without a transaction; the response comes back over the second Via.
// This saves a step of the script, a transaction and its memory, and an event for the
// outcome. Without a device here, or without IMC_DIRECT, the request goes on to the
// operator's routing. For a user with several devices, or one that is not reached by UDP, the
// answer is "300 imc other way", and the copy goes by imc.batch: the outcome of each device
// counts, and nothing may be repeated over TCP.
//
// With IMC_THROUGH, copies for a next hop other than this Kamailio pass it as they are,
// before it has parsed anything. Their only Via has Kamailio's address then, and a branch that
// begins with "z9hG4bK.imcopyN-", N being the engine's place ("z9hG4bK.imcopy-" for place 0): a
// response with such a branch is passed to the address of its imc.link.
//
// A contact whose host is a name, with one device that is reached by UDP, is answered "300
// imc name HOST:PORT" (PORT may be empty): nobody in Kamailio is to wait for a name server.
// The copy comes again with X-IMC-Dest (Copy.Dest), the address of that name. The same header
// leads copies for other domains through the operator's routing; imcd alone may set it.
//
// Such answers, and "503 Not from here now" to a copy from an unknown port, have the header
// X-IMC-Own, if "own" is among the features: SHA-256 of the header secret, in hexadecimal.
// Without it an answer is a device's, and simply its final response.
//
// The event route answers an OPTIONS from that port with "200 imc GEN", the number of its
// engine's hello (and " via" behind it if copies go to a next hop, or " through" if they pass
// like that). Before anything else this shows that the port leads to this Kamailio.
//
// Unread requests wait in Kamailio's socket, in the way of everybody else's; so no more than
// a few milliseconds' work is sent (sipFlow). Linux reports the level of that socket (gauge),
// responses of devices included. Where it does not, a response to a copy shows that Kamailio
// has read it, and all before it. Where devices are silent or far, an OPTIONS behind the
// copies, a mark, is answered in their place; one goes with each half of what may be unread.
// If it has another answer, Kamailio does not know the link any more: copies go by frames, and
// imcd sends imc.link and OPTIONS again each half minute. Replies go first: while one waits,
// there are no new copies for some milliseconds.
//
// # From Kamailio to imcd
//
// JSON-RPC 2.0 notifications:
//
//	{"jsonrpc":"2.0","method":"imc.welcome","params":{"role":"engine","time":"SEC.USEC","start":"WORD","gen":N,
//	  "place":N,"version":"B64 $version(full)","header":"B64 secret of X-IMC-Secret","next_hop":"B64 SIP URI",
//	  "room":"B64 IMC_ROOM","prefix":"B64 IMC_ROOM_PREFIX","domains":"B64 hosts","any":0,"peer":"B64 SIP URI",
//	  "features":"B64 words"}}
//	{"jsonrpc":"2.0","method":"imc.pong","params":{"id":"ID","time":"SEC.USEC","shm_free":BYTES,"shm":BYTES,
//	  "dropped":N,"missed":N,"parked":N,"outcomes":"KEY VALUE KEY VALUE …"}}
//	{"jsonrpc":"2.0","method":"imc.message","params":{"tindex":N,"tlabel":N,"proto":"udp","src_ip":"…","src_port":N,
//	  "time":"SEC.USEC","age":MS,"tries":N,"slot":N,"auth_user":"B64","local":1,"room":1,"ruri":"B64","msg":"B64"}}
//	{"jsonrpc":"2.0","method":"imc.request","params":{as of imc.message}}
//	{"jsonrpc":"2.0","method":"imc.receipt","params":{"ruri":"B64","msg":"B64"}}
//	{"jsonrpc":"2.0","method":"imc.error","params":{"id":"ID","code":N,"reply":"B64"}}
//	{"jsonrpc":"2.0","method":"imc.registered","params":{"aor":"B64","saved":N,"contact":"B64 Contact",
//	  "expires":"B64 Expires","agent":"B64 User-Agent","proto":"udp","src_ip":"…","src_port":N,
//	  "ruid":"WORD","was":"WORD","hash":"N","left":SECONDS,"stays":"RUID SINCE …","call":"WORD"}}
//	{"jsonrpc":"2.0","method":"imc.located","params":{"aor":"B64","from":N,"hash":"N","contacts":"RUID SINCE LEFT
//	  B64CONTACT B64INSTANCE B64AGENT B64SOURCE RUID …","native":"RUID RUID …"}}
//	{"jsonrpc":"2.0","method":"imc.registrations","params":{"accepted":"N","reported":"0 or 1"}}
//	{"jsonrpc":"2.0","method":"imc.call","params":{"tag":"TAG","msg":"B64 JSON-RPC request of an operator"}}
//	{"jsonrpc":"2.0","method":"imc.gone","params":{"engine":"ENGINE"}}
//	{"jsonrpc":"2.0","method":"imc.full","params":{}}
//
// An operator's connection gets imc.welcome with role "operator" and nothing else but the
// answers to its requests (plain JSON-RPC 2.0, methods imc.*).
//
// imc.full is the answer to a hello with a name if all places are taken. "parked" and
// "missed", the number of registrations that were not reported since Kamailio's start, are left out if they are 0.
//
// "place" of imc.welcome, "age", "tries" and "slot" of imc.message are missing in an older
// imc.cfg, which does not understand a hello with a name, either, and answers nothing
// (Config.Plain). "room" to "any" of imc.welcome, and "local" and "room" of imc.message, are
// missing in an older imc.cfg (Welcome.Rooms, Message.Foreign, Message.ByRule), and "start" in
// one that is not as old: it is another word after each start of Kamailio (Welcome.Start). Of
// "features", "topos" and "topos-own" say that this module is loaded (Topos).
//
// "time" is Kamailio's clock, and "age" the time for which it has had the request by then. If
// imcd was frozen or overrun, Kamailio has answered 503 to an old message already, and imcd
// must not execute it any more (Message.Age).
//
// imc.registered has the headers of a REGISTER request, and what save() returned (Registration). An older
// imc.cfg says "aor" alone. "ruid", "hash" and "left" are there with IMC_DIRECT only: how the location table
// names the contact, the hash of its address of record there, and for how long it keeps it. "was" is there if the
// device has left an earlier contact behind, which has the same Call-ID. "stays" is in place of "ruid" if a device has
// removed a contact, and has registered another one with the same +sip.instance, or Call-ID: a flow (reg-id, RFC 5626),
// or its address in another network. It has the words of imc.located. "call" is a hash of the Call-ID of a device
// without +sip.instance, if no other contact can be taken for it.
//
// imc.request is an INVITE, SUBSCRIBE, REFER or BYE to a room, or to the factory of rooms (IMC_NATIVE, "native" among
// the features). It waits as a message does. Conn sends NOTIFY, INVITE and BYE of its own as it sends copies by SIP,
// and by no other lane: imc-native.cfg looks up the device that the request URI, its GRUU, names, and relays the
// request in a transaction. To the final response to an INVITE Conn sends the ACK (RFC 3261, 17.1.1); the dialog that a
// 2xx has made comes with the Result, and belongs to the caller.
//
// imc.receipt is a MESSAGE with a receipt (message/imdn+xml) that Kamailio has answered 200 by
// itself, without a transaction; it needs no answer. Above a rate, or when imcd has much to
// read, Kamailio still answers receipts, but drops them; "dropped" counts these since its start,
// or since the count was 1000000000. Receipts in CPIM come as messages.
//
// The bytes that imcd has not read since its last frame are bounded (IMC_MAX_UNREAD). So it
// also pings when it has read some kilobytes (pingAfter).
//
// The outcomes of copies gather in Kamailio and come with the next pong, so imcd pings every
// few milliseconds while it waits for some. An event per copy would cost as much as the copy
// itself. KEY is the Call-ID in base64 and VALUE the final status, with "*N" behind it if the
// copy went to N devices (each has its own outcome then), or "*1@GRUU" if it was for one (Copy.Device),
// and "/" and the Retry-After in base64 if there is one; "f" if Kamailio could not send the copy. KEY "=" says that
// batch
// VALUE is done.
//
// "id" of imc.error is empty for tm.t_uac_start: there it stands in the reply.
//
// # Limits that Kamailio sets
//
// Every copy that comes back to Kamailio costs about 25 KB of its shared memory until 5 s
// after its end, a direct one half of that, one by SIP that finds a device nothing, and one by
// SIP that takes the routing half of it. Each pong reports the free memory, as it was up to a
// second ago. Below a third, copies that take any go at a rate that falls with it (memory);
// replies, and copies that take none, go as always.
//
// A payload of more than 32760 bytes is lost or ends the connection (MaxFrame). Kamailio's
// parser loses frames when a read ends inside a length, so frames go out in windows of at most
// 30000 bytes, one write each, ended by a ping whose pong is awaited before anything else is
// written (WindowBytes). A larger frame goes alone, with its ping; a heartbeat is a window
// without frames. The client must always read: a peer that does not ends up blocking SIP
// workers, until Kamailio 6.2, which has timeouts (imc.cfg sets them).
//
// Anybody who can connect to the port can end a Kamailio before 6.1.3 without any secret: a
// length just below 2^31 overflows in the parser, before any script runs. The port must only be
// open to processes that are trusted as far as that, on loopback as a rule.
//
// # Use
//
// NewConn makes a Conn with a Handler for events; NewOutgoing prepares the part that all copies
// of one MESSAGE share, and Conn.Send queues one copy of it. Each accepted copy gets a Result:
// Kamailio's final reply, or a Local one if Kamailio refused the frame or the connection was
// lost before it confirmed it. A Result can be lost with the connection or by Kamailio, so a
// sender that must know keeps a timer and may send the copy again with the same Call-ID.
//
// Dial and DialKamailio make clients of imcd's own RPC port and of Kamailio's (package
// jsonrpc). On the RPC port a client may begin with the same hello, with the token of that
// port, and must if there is one; it gets the same imc.welcome.
//
// # Files
//
// From top to bottom: connect.go makes connections; session.go reads one, writer.go writes it;
// sip_*.go is the SIP lane; conn.go has the methods of a Conn, fleet.go those for several
// engines; outbox.go, window_builder.go and queue.go hold entries until they are written;
// frame*.go and outgoing.go have their form on the wire, event.go and outcome.go that of
// Kamailio's frames.
package evapi
