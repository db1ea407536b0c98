# With live-restore containers outlive their engine, and held opens do too.

docker_setting '."live-restore" = true'
systemctl reload docker
hold_an_open
systemctl restart docker
it_is_still_held
it_goes_on
