"""What a build reads: folders seen through their ignore files, and the images it stands on."""
