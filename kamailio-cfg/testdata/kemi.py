# What KEMI set-ups have in one form or another; kemi.lua in Python.
# The README's methods follow.
import KSR


def mod_init():
    return kamailio()


class kamailio:
    def child_init(self, rank):
        return 0

    def ksr_route_reqinit(self, msg):
        if KSR.maxfwd.process_maxfwd(10) < 0:
            KSR.sl.sl_send_reply(483, "Too Many Hops")
            KSR.x.exit()

    def ksr_route_withindlg(self, msg):
        if KSR.siputils.has_totag() < 0:
            return
        KSR.sl.sl_send_reply(404, "Not here")
        KSR.x.exit()

    def ksr_route_auth(self, msg):
        if KSR.pv.get("$fU") == "mallory":
            KSR.sl.sl_send_reply(403, "Unknown user")
            KSR.x.exit()

    def ksr_route_registrar(self, msg):
        if not KSR.is_REGISTER():
            return
        rc = KSR.registrar.save("location", 0)
        if rc < 0:
            KSR.sl.sl_reply_error()
        KSR.pv.seti("$var(imc_save)", rc)
        KSR.x.exit()

    def ksr_route_location(self, msg):
        if KSR.registrar.lookup("location") < 0:
            KSR.sl.sl_send_reply(404, "Not Found")
            KSR.x.exit()
        KSR.tm.t_on_failure("ksr_failure_manage")
        if KSR.tm.t_relay() < 0:
            KSR.sl.sl_reply_error()
        KSR.x.exit()

    def ksr_failure_manage(self, msg):
        KSR.info("a request has failed\n")
        return 1

