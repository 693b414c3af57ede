// What KEMI set-ups have in one form or another; kemi.lua in JavaScript.
function ksr_route_reqinit() {
	if (KSR.maxfwd.process_maxfwd(10) < 0) {
		KSR.sl.sl_send_reply(483, "Too Many Hops");
		KSR.x.exit();
	}
}

function ksr_route_withindlg() {
	if (KSR.siputils.has_totag() < 0) return;
	KSR.sl.sl_send_reply(404, "Not here");
	KSR.x.exit();
}

function ksr_route_auth() {
	if (KSR.pv.get("$fU") == "mallory") {
		KSR.sl.sl_send_reply(403, "Unknown user");
		KSR.x.exit();
	}
}

function ksr_route_registrar() {
	if (!KSR.is_REGISTER()) return;
	var rc = KSR.registrar.save("location", 0);
	if (rc < 0) KSR.sl.sl_reply_error();
	KSR.pv.seti("$var(imc_save)", rc);
	KSR.x.exit();
}

function ksr_route_location() {
	if (KSR.registrar.lookup("location") < 0) {
		KSR.sl.sl_send_reply(404, "Not Found");
		KSR.x.exit();
	}
	KSR.tm.t_on_failure("ksr_failure_manage");
	if (KSR.tm.t_relay() < 0) KSR.sl.sl_reply_error();
	KSR.x.exit();
}

function ksr_failure_manage() {
	KSR.info("a request has failed\n");
	return 1;
}
