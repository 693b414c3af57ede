-- What KEMI set-ups have in one form or another; after Debian's example, with what a test needs.
function ksr_route_reqinit()
	if KSR.maxfwd.process_maxfwd(10) < 0 then
		KSR.sl.sl_send_reply(483, "Too Many Hops");
		KSR.x.exit();
	end
end

function ksr_route_withindlg()
	if KSR.siputils.has_totag() < 0 then return 1; end
	KSR.sl.sl_send_reply(404, "Not here");
	KSR.x.exit();
end

function ksr_route_auth()
	if KSR.pv.get("$fU") == "mallory" then
		KSR.sl.sl_send_reply(403, "Unknown user");
		KSR.x.exit();
	end
	return 1;
end

function ksr_route_registrar()
	if not KSR.is_REGISTER() then return 1; end
	local rc = KSR.registrar.save("location", 0);
	if rc < 0 then KSR.sl.sl_reply_error(); end
	KSR.pv.seti("$var(imc_save)", rc);
	KSR.x.exit();
end

function ksr_route_location()
	if KSR.registrar.lookup("location") < 0 then
		KSR.sl.sl_send_reply(404, "Not Found");
		KSR.x.exit();
	end
	KSR.tm.t_on_failure("ksr_failure_manage");
	if KSR.tm.t_relay() < 0 then KSR.sl.sl_reply_error(); end
	KSR.x.exit();
end

function ksr_failure_manage()
	KSR.info("a request has failed\n");
end
