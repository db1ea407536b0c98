# containerd, the keepers' grandparent, is restarted: they and the containers live on.

hold_an_open
systemctl restart containerd
it_is_still_held
it_goes_on
