# What all ARM machines share: they are slow even where KVM works, so they show what depends on the
# processor and leave the rest to others. Sourced by the files of machines/.
memory=1536
boot_limit=1500
patience=4
reboots=1
scenarios=(the-first-open-is-held reboot-with-a-plugged-stick
    unplugged-while-open-and-back-under-another-number)
