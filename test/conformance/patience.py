"""Python imports this module at its start, if it is on PYTHONPATH.

tempest's client waits ten seconds before it deletes a subnet, for clouds that take long to release ports.
"""
import sys
import time

sleep = time.sleep


def impatient_sleep(seconds):
    caller = sys._getframe(1).f_globals.get('__name__')
    if caller != 'tempest.lib.services.network.subnets_client':
        sleep(seconds)


time.sleep = impatient_sleep
