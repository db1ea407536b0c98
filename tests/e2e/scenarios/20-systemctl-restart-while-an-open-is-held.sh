# The daemon is restarted while an open is held: the application notices nothing.

hold_an_open
systemctl restart ttyplugd
it_is_still_held
it_goes_on
