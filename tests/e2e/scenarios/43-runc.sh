# What 41-crun tries of rights, with runc.

rights_stay ttyplug
