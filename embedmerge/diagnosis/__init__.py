"""What tuning did to the sources' weights, and which sources must not be averaged. numpy only, no torch."""
