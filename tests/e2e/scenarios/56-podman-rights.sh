# crun is the only runtime here. What the definition of a container grants stays as it is, whatever happens
# to its port, and the right to the port outlives a daemon-reload.

rights_stay ttyplug
